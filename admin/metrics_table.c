/*
 * The table of metrics and the words around it. Data only; any thread.
 */
#include "admin/metrics.h"

static const struct metric table[METRIC_COUNT] = {
#define METRIC_ROW(id, text, kind, words) [METRIC_ID_##id] = {(text), METRIC_##kind, (words)},
    METRICS(METRIC_ROW)
#undef METRIC_ROW
#define METRIC_ROW(name, words)                                                                              \
    [METRIC_ID_SERVICE_##name] = {"shunt_service_" #name "_total", METRIC_COUNTER, (words)},
        STATS_SERVICE_COUNTERS(METRIC_ROW)
#undef METRIC_ROW
};

const struct metric *metrics_table(void)
{
    return table;
}

const char *metrics_type_name(enum metric_type type)
{
    switch (type) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
        return "gauge";
    case METRIC_HISTOGRAM:
        break;
    }
    return "histogram";
}

void metrics_write_reference(FILE *out)
{
    fputs(
        "# Metrics\n\n"
        "Written from the table in `admin/metrics.h` by `commands_reference --metrics`; a test fails when it "
        "is stale.\n"
        "With `metrics = { listen = \"127.0.0.1:9101\"; };` they are served as Prometheus text at "
        "`/metrics`;\n"
        "`shuntctl show metrics` prints the same. Counters begin at 0 with the process. Labels: `service`, "
        "`group`,\n"
        "`backend`, `reason`, `direction`, `phase`, `check`, `certificate`; never a client's address. "
        "Histograms are "
        "counted in "
        "finer steps\n"
        "inside, so a bound is right to a thirty-second part of its value.\n\n"
        "| metric | type | what it is |\n|---|---|---|\n",
        out);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        fprintf(out, "| `%s` | %s | %s |\n", table[i].name, metrics_type_name(table[i].type), table[i].help);
    }
}
