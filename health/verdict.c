/* Rise and fall: see health/verdict.h. Pure. */
#include "health/verdict.h"

void verdict_init(struct verdict *verdict)
{
    verdict->state = BACKEND_UNKNOWN;
    verdict->against = 0;
}

bool verdict_step(struct verdict *verdict, bool passed, uint32_t rise, uint32_t fall)
{
    enum backend_state says = passed ? BACKEND_UP : BACKEND_DOWN;
    if (verdict->state == says) {
        verdict->against = 0;
        return false;
    }
    verdict->against++;
    uint32_t needed = passed ? rise : fall;
    if (verdict->state != BACKEND_UNKNOWN && verdict->against < needed) {
        return false;
    }
    verdict->state = says;
    verdict->against = 0;
    return true;
}
