//! Turns the plugin's `.proto` into messages and a trait.

fn main() -> Result<(), quorate_build::Error> {
    quorate_build::compile("proto/queue/v1/queue.proto")
}
