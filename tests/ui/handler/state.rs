use surehand::{Function, Sqs, State};

#[derive(Clone)]
struct Shop;
#[derive(Clone)]
struct Mailer;

async fn reserve(_: State<Mailer>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Function::new(Sqs, reserve, Shop);
}
