//! `libmemento_python.so`: what `libmemento.so` is, and CPython's memory domains besides.
//!
//! CPython asks for memory in three domains. The *raw* domain is `malloc`'s family, which this object
//! replaces like `libmemento.so`; it is left as it is, since CPython itself puts its own raw allocator
//! back for moments at its start and end, and frees with one what the other allocated. The *mem* and
//! *obj* domains, which hold nearly all that a program allocates, are served by CPython's own
//! small-object allocator, of which a malloc sees nothing. They are given to memento by
//! `PyMem_SetAllocator`, when this object is loaded: before the interpreter's first allocation, so
//! that no object has to be told from an older one.
//!
//! Nothing here is compiled against Python. The names are looked up by the loader, whether they lie
//! in the executable or in a shared libpython; in a process that has no interpreter this object is
//! `libmemento.so` with one function call more.
#![no_std]

mod arenas;
mod domains;
mod environment;
mod install;
mod interpreter;
mod launch;
mod stats;

use memento_alloc::Memento;

memento_shim_abi::export!(Memento = Memento::new(), at_invocation_end: arenas::purge);
