#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surehand_fuzz::sqs_invocation(bytes));
