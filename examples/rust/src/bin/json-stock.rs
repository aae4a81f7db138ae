//! The function on the system's allocator.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    memento_examples::run()
}
