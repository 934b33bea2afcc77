//! Turns the plugin's `.proto` into messages and a trait.

fn main() -> Result<(), quorate_build::Error> {
    quorate_build::compile("proto/tickets/v1/tickets.proto")
}
