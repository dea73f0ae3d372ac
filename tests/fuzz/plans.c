/*
 * A whole configuration, and the plan that each service has in it: what the parser lets pass, the compiler of
 * plans must take, with shares that rise and end at 100 %, and it can be shown. Included files are left out:
 * those are includes.c's.
 */
#include "core/config.h"
#include "core/units.h"
#include "migration/plan.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

/* libconfig loses the buffer of a string that a fault of syntax ends; 64 bytes a bad file, and not ours. */
const char *__lsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__lsan_default_suppressions(void)  /* NOLINT(bugprone-reserved-identifier) */
{
    return "leak:libconfig\n";
}

static void try_plan(const struct config_migration *migration)
{
    struct plan *plan = NULL;
    struct err_text err;
    if (!migration->present) {
        return;
    }
    FUZZ_CHECK(plan_compile(migration, &plan, &err) == 0 && plan != NULL);
    for (uint32_t step = 1; step <= plan_steps(plan); step++) {
        FUZZ_CHECK(plan_share_bp(plan, step) > plan_share_bp(plan, step - 1));
    }
    FUZZ_CHECK(plan_share_bp(plan, plan_steps(plan)) == UNITS_BP_FULL);
    FUZZ_CHECK(plan_left_us(plan, 1, 0) == plan_total_us(plan));
    plan_destroy(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct config_errors errors;
    struct config *config = NULL;
    if (strstr(text, "@include") == NULL) {
        if (config_load_text(text, "/nowhere", &config, &errors) == 0) {
            for (size_t i = 0; i < config->services_len; i++) {
                try_plan(&config->services[i].migration);
            }
            char *shown = config_show(config);
            FUZZ_CHECK(shown == NULL || strchr(shown, '=') != NULL);
            free(shown);
            config_free(config);
        } else {
            FUZZ_CHECK(errors.len > 0 && errors.list[0].text[0] != '\0');
        }
        config_errors_clear(&errors);
    }
    free(text);
    return 0;
}
