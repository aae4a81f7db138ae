//! Linker arguments.

fn main() {
    memento_shim_link::preload_object("libmemento_all.so");
}
