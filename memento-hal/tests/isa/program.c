#include "program.h"
#include "memento_isa.h"

/* The objects' memory is simulated: their addresses are never accessed. */

enum { LIVE = 700, STEPS = 20000 };

static void *live[LIVE];
static uint64_t state = 0x9e3779b97f4a7c15;

static uint32_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)

int program_run(void)
{
    EXPECT(memento_id() >> 32 == MEMENTO_ID_SIGNATURE);
    EXPECT((memento_id() & MEMENTO_ID_EMULATED) != 0);
    char *start = memento_region_start(), *end = memento_region_end();
    EXPECT(start < end);

    /* More than two arenas of one class, freed from the front: full and available lists. */
    for (int i = 0; i < LIVE; i++) {
        live[i] = memento_obj_alloc(memento_class_size(20, 16));
        EXPECT((char *)live[i] >= start && (char *)live[i] < end);
        EXPECT((uintptr_t)live[i] % 16 == 0);
    }
    for (int i = 0; i < LIVE; i++) {
        EXPECT(memento_obj_free(live[i]) == MEMENTO_FREE_DONE);
        live[i] = 0;
    }

    /* Sizes as programs have them: mostly small, all classes now and then. */
    for (int step = 0; step < STEPS; step++) {
        uint32_t at = next() % LIVE;
        if (live[at]) {
            EXPECT(memento_obj_free(live[at]) == MEMENTO_FREE_DONE);
            live[at] = 0;
        } else {
            uint32_t size = next() % 4 ? next() % 64 : next() % 513;
            live[at] = memento_obj_alloc(memento_class_size(size, 8u << next() % 2));
            EXPECT(live[at]);
        }
    }

    /* What is not to be: each is answered, and changes nothing. */
    void *object = memento_obj_alloc(48);
    EXPECT(memento_obj_free((char *)object + 8) == MEMENTO_FREE_MISALIGNED);
    EXPECT(memento_obj_free(object) == MEMENTO_FREE_DONE);
    EXPECT(memento_obj_free(object) == MEMENTO_FREE_NOT_ALLOCATED);
    EXPECT(memento_obj_free(end) == MEMENTO_FREE_OUTSIDE);
    EXPECT(memento_obj_alloc(MEMENTO_OBJ_MAX + 1) == 0);
    return 0;
}
