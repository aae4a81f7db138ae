/*
 * The Memento instructions for C and C++ runtimes; ISA.md is the specification.
 *
 * Each function is one instruction. Executing it needs a CPU with the extension, or a process in
 * which something handles SIGILL for it (libmemento-isa.so does).
 *
 * On x86-64 every site is noted in the section memento_sites: 32-bit offsets from the entry to
 * the site. The image that contains them may have them patched before they trap.
 */
#ifndef MEMENTO_ISA_H
#define MEMENTO_ISA_H

#include <stddef.h>
#include <stdint.h>

/* Function codes, common to both architectures. */
#define MEMENTO_FN_ID 0
#define MEMENTO_FN_OBJ_ALLOC 1
#define MEMENTO_FN_OBJ_FREE 2
#define MEMENTO_FN_HOT_FLUSH 3
#define MEMENTO_FN_READ_MRS 8
#define MEMENTO_FN_READ_MRE 9
#define MEMENTO_FN_READ_MPTR 10
#define MEMENTO_FN_WRITE_MRS 12
#define MEMENTO_FN_WRITE_MRE 13
#define MEMENTO_FN_WRITE_MPTR 14

/* Fields of the identification word. */
#define MEMENTO_ID_SIGNATURE 0x544d454du /* bits 32-63: "MEMT" */
#define MEMENTO_ID_EMULATED 0x100u       /* software executes the instructions */

/* What obj-free returns. */
#define MEMENTO_FREE_DONE 0
#define MEMENTO_FREE_OUTSIDE 1       /* no object of the region can start there */
#define MEMENTO_FREE_MISALIGNED 2    /* inside an arena, but not the start of a slot */
#define MEMENTO_FREE_NOT_ALLOCATED 3 /* double free */

/* Largest size in bytes that obj-alloc serves. */
#define MEMENTO_OBJ_MAX 512

#if defined(__x86_64__)

#define MEMENTO_X86_SIGNATURE 0x4d454d00
#define MEMENTO_STRING_(x) #x
#define MEMENTO_STRING(x) MEMENTO_STRING_(x)

/* ud1 rax, [rdi + signature + function]: result in rax, operand in rdi, nothing else changes.
 * "memory": no access to an object may move across its allocation or its free. */
#define MEMENTO_ISA_DEFINE_(name, function)                                                        \
    static inline uintptr_t name(uintptr_t operand)                                                \
    {                                                                                              \
        uintptr_t result;                                                                          \
        __asm__ volatile(".p2align 3\n"                                                            \
                         "770:\n\t"                                                                \
                         ".byte 0x48, 0x0f, 0xb9, 0x87\n\t"                                        \
                         ".long " MEMENTO_STRING(MEMENTO_X86_SIGNATURE) " + " MEMENTO_STRING(      \
                             function) "\n\t"                                                      \
                         ".pushsection memento_sites, \"aR?\", @progbits\n\t"                      \
                         ".p2align 2\n\t"                                                          \
                         ".long 770b - .\n\t"                                                      \
                         ".popsection"                                                             \
                         : "=a"(result)                                                            \
                         : "D"(operand)                                                            \
                         : "memory");                                                              \
        return result;                                                                             \
    }

#elif defined(__riscv) && __riscv_xlen == 64

#define MEMENTO_STRING_(x) #x
#define MEMENTO_STRING(x) MEMENTO_STRING_(x)

/* custom-0, R-type: funct7 is the function code, rd the result, rs1 the operand, rs2 is x0. */
#define MEMENTO_ISA_DEFINE_(name, function)                                                        \
    static inline uintptr_t name(uintptr_t operand)                                                \
    {                                                                                              \
        uintptr_t result;                                                                          \
        __asm__ volatile(".insn r CUSTOM_0, 0, " MEMENTO_STRING(function) ", %0, %1, x0"           \
                         : "=r"(result)                                                            \
                         : "r"(operand)                                                            \
                         : "memory");                                                              \
        return result;                                                                             \
    }

#else
#error "the Memento instructions are defined for x86-64 and 64-bit RISC-V"
#endif

#ifdef __cplusplus
extern "C" {
#endif

MEMENTO_ISA_DEFINE_(memento_isa_id_, MEMENTO_FN_ID)
MEMENTO_ISA_DEFINE_(memento_isa_obj_alloc_, MEMENTO_FN_OBJ_ALLOC)
MEMENTO_ISA_DEFINE_(memento_isa_obj_free_, MEMENTO_FN_OBJ_FREE)
MEMENTO_ISA_DEFINE_(memento_isa_read_mrs_, MEMENTO_FN_READ_MRS)
MEMENTO_ISA_DEFINE_(memento_isa_read_mre_, MEMENTO_FN_READ_MRE)

/* The identification word. */
static inline uint64_t memento_id(void)
{
    return memento_isa_id_(0);
}

/* Class-rounded size of a request for the object allocator; 0 if the software path must serve it
 * (over 512 bytes, or aligned beyond 64). `alignment` is a power of two. */
static inline size_t memento_class_size(size_t size, size_t alignment)
{
    size_t unit = alignment > 8 ? alignment : 8;
    if (size > MEMENTO_OBJ_MAX || alignment > 64)
        return 0;
    return ((size ? size : 1) + unit - 1) & ~(unit - 1);
}

/* An object of `class_size` bytes (see memento_class_size), or NULL when memory is exhausted.
 * errno is left alone. */
static inline void *memento_obj_alloc(size_t class_size)
{
    return (void *)memento_isa_obj_alloc_(class_size);
}

/* Frees the object at `object`; MEMENTO_FREE_DONE or the number of the memento fault. */
static inline int memento_obj_free(void *object)
{
    return (int)memento_isa_obj_free_((uintptr_t)object);
}

/* First address of the region, and first address after it. */
static inline void *memento_region_start(void)
{
    return (void *)memento_isa_read_mrs_(0);
}

static inline void *memento_region_end(void)
{
    return (void *)memento_isa_read_mre_(0);
}

#ifdef MEMENTO_ISA_SUPERVISOR
/* For an operating system: undefined instructions outside the supervisor mode. */
MEMENTO_ISA_DEFINE_(memento_hot_flush, MEMENTO_FN_HOT_FLUSH)
MEMENTO_ISA_DEFINE_(memento_read_mptr, MEMENTO_FN_READ_MPTR)
MEMENTO_ISA_DEFINE_(memento_write_mrs, MEMENTO_FN_WRITE_MRS)
MEMENTO_ISA_DEFINE_(memento_write_mre, MEMENTO_FN_WRITE_MRE)
MEMENTO_ISA_DEFINE_(memento_write_mptr, MEMENTO_FN_WRITE_MPTR)
#endif

#ifdef __cplusplus
}
#endif

#endif
