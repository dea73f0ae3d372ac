/*
 * Answers for the files that checks go by (authorities, revocations, certificates of ours, passwords), when
 * they change while the program runs: what the checks of a group share is made anew and swapped. A check
 * under way goes on by the TLS that it began with, libssl counts who uses a context; where the password is
 * another one, probes are made anew, since they keep what follows from it. Control thread. Why it is asked
 * for is the daemon's business.
 */
#include "core/file_stamp.h"
#include "health/health_internal.h"

#include <stdlib.h>
#include <string.h>

/* Whatever is not there adds nothing. */
static uint64_t stamp_group(uint64_t stamp, const struct config_group *group)
{
    const struct check_tls tls = check_tls_of(group);
    stamp = file_stamp(stamp, probe_password_file(&group->health));
    if (tls.way == CHECK_TLS_NONE) {
        return stamp;
    }
    stamp = file_stamp(stamp, tls.ca);
    stamp = file_stamp(stamp, tls.crl);
    stamp = file_stamp(stamp, tls.own != NULL ? tls.own->certificate : NULL);
    return file_stamp(stamp, tls.own != NULL ? tls.own->key : NULL);
}

uint64_t health_files_now(const struct config_service *config)
{
    uint64_t stamp = 0;
    for (size_t g = 0; g < config->groups_len; g++) {
        stamp = stamp_group(stamp, &config->groups[g]);
    }
    return stamp;
}

uint64_t health_files_in_force(const struct health *health)
{
    return health->files;
}

/* What is new of everything: by place in health->means and in health->checks. */
struct renewal {
    struct health *health;
    struct probe_means *means;
    bool *other_password;
    struct probe **probes; /* NULL: the check keeps its own */
};

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static int read_files(const struct renewal *renewal, struct err_text *err)
{
    const struct health *health = renewal->health;
    for (size_t g = 0; g < health->means_len; g++) {
        const struct probe_means *before = &health->means[g];
        int rc = before->config != NULL ? probe_means_create(before->group, &renewal->means[g], err) : 0;
        if (rc != 0) {
            return rc;
        }
        renewal->other_password[g] = !is_same(before->password, renewal->means[g].password);
    }
    return 0;
}

/* Puts the new ones in the place where checks look for them, or the old ones back. */
static void swap_means(const struct renewal *renewal)
{
    for (size_t g = 0; g < renewal->health->means_len; g++) {
        struct probe_means before = renewal->health->means[g];
        renewal->health->means[g] = renewal->means[g];
        renewal->means[g] = before;
    }
}

static bool is_affected(const struct renewal *renewal, const struct check *check)
{
    return renewal->other_password[check->means - renewal->health->means];
}

static int make_probes(const struct renewal *renewal)
{
    const struct health *health = renewal->health;
    for (size_t i = 0; i < health->checks_len; i++) {
        const struct check *check = health->checks[i];
        if (is_affected(renewal, check) && health_make_probe(check, &renewal->probes[i]) != 0) {
            return ERR_NOMEM;
        }
    }
    return 0;
}

/* Nothing can fail any more. Checks whose probe is another one begin at once: they know better now. */
static void take_probes(const struct renewal *renewal)
{
    struct health *health = renewal->health;
    bool any = false;
    for (size_t g = 0; g < health->means_len; g++) {
        any |= renewal->other_password[g];
    }
    if (any) {
        health_end_trials(health); /* they may hold a password that goes */
    }
    for (size_t i = 0; i < health->checks_len; i++) {
        if (renewal->probes[i] != NULL) {
            health_take_probe(health->checks[i], renewal->probes[i]);
            renewal->probes[i] = NULL;
        }
    }
}

static void clear(struct renewal *renewal)
{
    const struct health *health = renewal->health;
    for (size_t i = 0; renewal->probes != NULL && i < health->checks_len; i++) {
        if (renewal->probes[i] != NULL) {
            health->checks[i]->type->destroy(renewal->probes[i]);
        }
    }
    for (size_t g = 0; renewal->means != NULL && g < health->means_len; g++) {
        probe_means_destroy(&renewal->means[g]);
    }
    free((void *)renewal->probes);
    free(renewal->means);
    free(renewal->other_password);
}

static int renew(struct renewal *renewal, struct err_text *err)
{
    struct health *health = renewal->health;
    renewal->means = calloc(health->means_len + 1, sizeof(*renewal->means));
    renewal->other_password = calloc(health->means_len + 1, sizeof(*renewal->other_password));
    renewal->probes = calloc(health->checks_len + 1, sizeof(struct probe *));
    if (renewal->means == NULL || renewal->other_password == NULL || renewal->probes == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for health checks");
    }
    int rc = read_files(renewal, err);
    if (rc != 0) {
        return rc;
    }
    swap_means(renewal);
    rc = make_probes(renewal);
    if (rc != 0) {
        swap_means(renewal);
        return err_set(err, rc, "no memory for health checks");
    }
    take_probes(renewal);
    return 0;
}

int health_reread(struct health *health, struct err_text *err)
{
    uint64_t files = health_files_now(health->config);
    struct renewal renewal = {.health = health};
    int rc = renew(&renewal, err);
    clear(&renewal);
    health->files = rc == 0 ? files : health->files;
    return rc;
}
