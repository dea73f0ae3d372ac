/*
 * Random walks through the state machine: a hundred thousand events, kills and broken disks, and what must
 * hold after each of them. Seeded; no clock but the one that the test turns.
 */
#include "migration/machine.h"

#include "core/random.h"
#include "tests/unit/migration/machine_plans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct walk {
    struct random_state random;
    struct machine_rules rules;
    struct machine m;       /* in force */
    struct machine durable; /* the last record on disk */
    uint64_t now_us;
    bool journal_broken;
    unsigned visits[MIGRATION_PHASE_COUNT];
};

static void adopt(struct walk *w, const struct machine_change *change, bool *recorded)
{
    *recorded = !w->journal_broken && change->order != MACHINE_SILENT;
    w->m = change->next;
    if (*recorded) {
        w->durable = change->next;
    }
}

/* What the controller does with a change, in small. */
static void carry_out(struct walk *w, const struct machine_input *in, const struct machine_change *change)
{
    struct machine before = w->m;
    bool recorded = false;

    if (change->order == MACHINE_JOURNAL_FIRST && w->journal_broken) {
        struct machine_input failed = {.event = MACHINE_JOURNAL_FAILED, .now_us = w->now_us};
        struct machine_change detached;

        if (!machine_event_is_operator(in->event)) {
            assert_int_equal(machine_handle(&w->m, &w->rules, &failed, &detached), 0);
            w->m = detached.next;
        }
        assert_int_equal(w->m.share_bp, before.share_bp);
        assert_int_equal(w->m.phase, before.phase);
        return;
    }
    if (change->order != MACHINE_NOTHING) {
        adopt(w, change, &recorded);
    }
    if (w->m.share_bp > before.share_bp) {
        assert_int_equal(change->order, MACHINE_JOURNAL_FIRST);
        assert_true(recorded);
        assert_true(in->usable > 0);
    }
    if (w->m.active != before.active) {
        assert_int_equal(change->order, MACHINE_JOURNAL_FIRST);
        assert_int_equal(w->m.active, before.target);
        assert_int_equal(before.share_bp, 10000);
    }
    if (before.phase == MIGRATION_PAUSED && w->m.phase == MIGRATION_PAUSED && in->event != MACHINE_SHARE) {
        assert_int_equal(w->m.share_bp, before.share_bp);
    }
}

static void check_state(const struct walk *w)
{
    const struct machine *m = &w->m;
    uint32_t active;
    uint32_t target;
    uint32_t share_bp;

    machine_route(m, &active, &target, &share_bp);
    assert_true(m->share_bp <= 10000);
    assert_true(machine_is_open(m) == (target != ROUTING_NONE));
    assert_true(target != active);
    if ((m->phase == MIGRATION_ROLLING_BACK && w->rules.back_us == 0) || m->phase == MIGRATION_ROLLED_BACK) {
        assert_int_equal(share_bp, 0);
    }
    if (m->phase == MIGRATION_DRAINING || m->phase == MIGRATION_AWAITING_COMMIT) {
        assert_int_equal(share_bp, 10000);
    }
    if (m->phase == MIGRATION_RAMPING) {
        assert_non_null(w->rules.plan);
        assert_true((m->step >= 1 || m->released) && m->step <= plan_steps(w->rules.plan));
        assert_true(m->released || !m->by_hand);
    }
    if (m->phase == MIGRATION_PREFLIGHT) {
        assert_int_equal(share_bp, 0);
        assert_true(m->released && m->step < plan_steps(w->rules.plan));
    }
    assert_true(!m->released || m->phase == MIGRATION_PREFLIGHT || m->phase == MIGRATION_RAMPING);
    assert_true(machine_served_us(m, w->now_us) >= m->served_us);
    /* What is in force was on disk before: a kill at any moment comes back here or lower, never the other
     * way. */
    assert_true(m->share_bp <= w->durable.share_bp);
    assert_int_equal(m->active, w->durable.active);
}

/* A kill: what comes back is the record, whatever was in force. */
static void crash(struct walk *w)
{
    struct machine_input in = {.event = MACHINE_RESTART, .now_us = w->now_us};
    struct machine_change change;

    w->m = w->durable;
    w->m.detached = w->m.held = false;
    w->m.mark_us = w->now_us;
    in.plan_changed = random_below(&w->random, 8) == 0;
    assert_int_equal(machine_handle(&w->m, &w->rules, &in, &change), 0);
    assert_true(change.next.share_bp <= w->durable.share_bp);
    assert_true(change.next.served_us <= w->durable.served_us);
    carry_out(w, &in, &change);
}

static void walk_once(struct walk *w)
{
    struct machine_sight sight = {.usable = random_below(&w->random, 8) == 0 ? 0 : 2};
    struct machine_input in = {.usable = sight.usable};
    struct machine before;
    struct machine_change change;

    w->now_us += random_below(&w->random, 4 * (uint32_t)MINUTE);
    sight.now_us = w->now_us;
    sight.leaving = random_below(&w->random, 3);
    sight.samples = random_below(&w->random, 20);
    sight.shut = random_below(&w->random, 10) == 0;
    in.now_us = w->now_us;
    in.event = random_below(&w->random, 2) == 0
                   ? machine_due(&w->m, &w->rules, &sight)
                   : (enum machine_event)random_below(&w->random, MACHINE_STEP_DUE);
    if (in.event == MACHINE_NO_EVENT) {
        return;
    }
    in.share_bp = random_below(&w->random, 4) * 2500 + (random_below(&w->random, 2) != 0 ? 2500 : 0);
    in.target = w->m.active == 0 ? 1 : 0;
    before = w->m;
    if (machine_handle(&w->m, &w->rules, &in, &change) == 0) {
        carry_out(w, &in, &change);
    } else {
        assert_true(machine_event_is_operator(in.event)); /* what is due is always allowed */
        assert_memory_equal(&before, &w->m, sizeof(before));
    }
}

static void random_walks_keep_the_promises(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        struct walk w = {.rules = {.plan = plans[seed % 3],
                                   .drain_us = 5 * MINUTE,
                                   .back_us = seed > 3 ? 10 * MINUTE : 0,
                                   .back_drain_us = 5 * MINUTE,
                                   .step_asks = seed % 2 == 0,
                                   .commit_asks = seed % 3 == 0,
                                   .commit_manual = seed % 2}};

        random_seed(&w.random, seed);
        machine_init(&w.m, 0);
        w.durable = w.m;
        w.visits[w.m.phase]++;
        for (unsigned i = 0; i < 20000; i++) {
            if (random_below(&w.random, 50) == 0) {
                w.journal_broken = !w.journal_broken;
            }
            if (random_below(&w.random, 40) == 0) {
                crash(&w);
            }
            walk_once(&w);
            check_state(&w);
            w.visits[w.m.phase]++;
        }
        /* the walk went everywhere that there is */
        for (unsigned phase = 0; phase < MIGRATION_PHASE_COUNT; phase++) {
            bool cannot =
                (phase == MIGRATION_PREFLIGHT && (!w.rules.step_asks || w.rules.plan == NULL)) ||
                (phase == MIGRATION_RAMPING && w.rules.plan == NULL) ||
                (phase == MIGRATION_AWAITING_COMMIT && (!w.rules.commit_manual || w.rules.plan != plans[1]));
            if (!cannot && w.visits[phase] == 0) {
                fail_msg("seed %u never saw %s", seed, migration_phase_name((enum migration_phase)phase));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walks_keep_the_promises),
    };

    return cmocka_run_group_tests(tests, compile_plans, destroy_plans);
}
