/* One function for each instruction, so that a test can read the bytes. */
#define MEMENTO_ISA_SUPERVISOR
#include "memento_isa.h"

uintptr_t emit_0(uintptr_t x) { return memento_isa_id_(x); }
uintptr_t emit_1(uintptr_t x) { return memento_isa_obj_alloc_(x); }
uintptr_t emit_2(uintptr_t x) { return memento_isa_obj_free_(x); }
uintptr_t emit_3(uintptr_t x) { return memento_hot_flush(x); }
uintptr_t emit_8(uintptr_t x) { return memento_isa_read_mrs_(x); }
uintptr_t emit_9(uintptr_t x) { return memento_isa_read_mre_(x); }
uintptr_t emit_10(uintptr_t x) { return memento_read_mptr(x); }
uintptr_t emit_12(uintptr_t x) { return memento_write_mrs(x); }
uintptr_t emit_13(uintptr_t x) { return memento_write_mre(x); }
uintptr_t emit_14(uintptr_t x) { return memento_write_mptr(x); }
