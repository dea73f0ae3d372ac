/*
 * Where backends and groups stand, beyond up and down, for status as text and as JSON. Control thread.
 */
#ifndef ADMIN_RENDER_STANDING_H
#define ADMIN_RENDER_STANDING_H

#include "balancer/routing.h"
#include "migration/migration.h"

#include <jansson.h>
#include <stdio.h>

/* Behind the state of a backend: who took it out or forced it, " ejected: 5 timeouts in a row, for another
 * 12s"; nothing when there is nothing to say. */
void render_standing(FILE *out, const struct migration *migration, const struct backend *backend);
/* Behind the figures of a group: panic, backups that serve. */
void render_group_standing(FILE *out, const struct routing *routing, size_t group);
/* Further fields of the objects of status; owned by the caller, NULL without memory. */
json_t *render_json_standing(const struct migration *migration, const struct backend *backend);
json_t *render_json_group_standing(const struct routing *routing, size_t group);

#endif
