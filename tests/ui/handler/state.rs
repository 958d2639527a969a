use surehand::{Router, State};

#[derive(Clone)]
struct Shop;
#[derive(Clone)]
struct Mailer;

async fn reserve(_: State<Mailer>) -> surehand::Result<()> {
    Ok(())
}

fn main() {
    let _ = Router::<Shop>::new().otherwise(reserve);
}
