//! Turns the `.proto` into messages and a trait.

fn main() -> Result<(), quorate_build::Error> {
    quorate_build::compile("proto/hazards/v1/hazards.proto")
}
