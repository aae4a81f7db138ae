//! The function on memento: two lines.

use memento_alloc::Memento;

#[global_allocator]
static ALLOCATOR: Memento = Memento::new();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    memento_examples::run()
}
