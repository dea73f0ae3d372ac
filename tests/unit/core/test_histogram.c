/* Histograms and counters: buckets, quantiles, differences, sums over workers. */
#include "core/histogram.h"
#include "core/random.h"
#include "core/stats.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void buckets_cover_everything_without_gaps(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket_low(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t low = histogram_bucket_low(i);
        uint64_t next = histogram_bucket_low(i + 1);
        assert_true(next > low);
        assert_int_equal(histogram_index(low), i);
        assert_int_equal(histogram_index(next - 1), i);
        /* At most 1/16 wide, measured at its low end. */
        assert_true(next - low == 1 || (next - low) * 16 <= low);
    }
    assert_int_equal(histogram_bucket_low(HISTOGRAM_BUCKETS), UINT64_C(1) << HISTOGRAM_MAX_BITS);
    assert_int_equal(histogram_index(UINT64_C(1) << HISTOGRAM_MAX_BITS), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_index(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Against the sorted samples themselves: never more than 1/16 off. */
static void quantiles_are_within_the_error_bound(void **state)
{
    enum { SAMPLES = 20000 };
    static struct histogram histogram;
    static uint64_t samples[SAMPLES];
    struct histogram_reading reading = {0};
    struct random_state random;
    uint64_t sum = 0;
    (void)state;
    random_seed(&random, 7);
    for (unsigned i = 0; i < SAMPLES; i++) {
        /* Every magnitude from 1 us to some hours. */
        samples[i] = random_next(&random) >> (64 - 1 - random_below(&random, 35));
        histogram_record(&histogram, samples[i]);
        sum += samples[i];
    }
    qsort(samples, SAMPLES, sizeof(samples[0]), compare);
    histogram_read_add(&histogram, &reading);
    assert_int_equal(reading.count, SAMPLES);
    assert_int_equal(reading.sum_us, sum);
    static const double quantiles[] = {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        size_t rank = (size_t)(quantiles[i] * SAMPLES);
        uint64_t truth = samples[rank == 0 ? 0 : rank - 1];
        uint64_t estimate = histogram_quantile(&reading, quantiles[i]);
        uint64_t error = estimate > truth ? estimate - truth : truth - estimate;
        assert_true(error * 16 <= truth);
    }
}

static void small_samples_are_exact(void **state)
{
    static struct histogram histogram;
    struct histogram_reading reading = {0};
    (void)state;
    assert_int_equal(histogram_quantile(&reading, 0.5), 0);
    for (unsigned i = 1; i <= 10; i++) {
        histogram_record(&histogram, i);
    }
    histogram_read_add(&histogram, &reading);
    assert_int_equal(histogram_quantile(&reading, 0.0), 1);
    assert_int_equal(histogram_quantile(&reading, 0.1), 1);
    assert_int_equal(histogram_quantile(&reading, 0.11), 2);
    assert_int_equal(histogram_quantile(&reading, 0.5), 5);
    assert_int_equal(histogram_quantile(&reading, 0.99), 10);
    assert_int_equal(histogram_quantile(&reading, 1.0), 10);
    assert_int_equal(histogram_quantile(&reading, 7.0), 10);
    assert_int_equal(histogram_quantile(&reading, -1.0), 1);
}

static void windows_are_differences_also_across_a_wrap(void **state)
{
    static struct histogram histogram;
    struct histogram_reading older = {0};
    struct histogram_reading newer = {0};
    (void)state;
    atomic_store(&histogram.bucket[5], UINT32_MAX - 1);
    histogram_record(&histogram, 5);
    histogram_read_add(&histogram, &older);
    for (unsigned i = 0; i < 3; i++) {
        histogram_record(&histogram, 5);
    }
    histogram_record(&histogram, 9);
    histogram_read_add(&histogram, &newer);
    histogram_reading_subtract(&newer, &older, &newer);
    assert_int_equal(newer.count, 4);
    assert_int_equal(newer.sum_us, 24);
    assert_int_equal(histogram_quantile(&newer, 0.75), 5);
    assert_int_equal(histogram_quantile(&newer, 1.0), 9);
}

static void names_are_unique(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATS_CLOSE_COUNT; i++) {
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(stats_close_name((enum stats_close)i),
                                    stats_close_name((enum stats_close)j));
        }
    }
    assert_string_equal(stats_close_name(STATS_CLOSE_CLIENT_CLOSED), "client-closed");
    assert_string_equal(stats_close_name(STATS_CLOSE_INTERNAL), "internal");
    assert_string_equal(stats_close_name(STATS_CLOSE_COUNT), "unknown");
    assert_string_equal(stats_error_name(STATS_ERROR_CONNECT), "connect");
    assert_string_equal(stats_error_name(STATS_ERROR_HANDSHAKE), "handshake");
    assert_string_equal(stats_error_name(STATS_ERROR_COUNT), "unknown");
}

/* Gives each counter of a struct its own value and looks for it in the sum of two workers. */
static void every_counter_is_summed(void **state)
{
    static struct stats_service service;
    static struct stats_backend backend;
    struct stats_service_reading service_sum = {0};
    struct stats_backend_reading backend_sum = {0};
    uint64_t value = 0;
    (void)state;
#define SET_SERVICE(name, help) stats_add(&service.name, ++value);
#define SET_BACKEND(name, help) stats_add(&backend.name, ++value);
    STATS_SERVICE_COUNTERS(SET_SERVICE)
    STATS_BACKEND_COUNTERS(SET_BACKEND)
    for (unsigned i = 0; i < STATS_CLOSE_COUNT; i++) {
        stats_add(&service.closed[i], ++value);
    }
    for (unsigned i = 0; i < STATS_ERROR_COUNT; i++) {
        stats_add(&backend.errors[i], ++value);
    }
    histogram_record(&backend.connect_us, 3);
    histogram_record(&backend.response_us, 4);
    for (unsigned worker = 0; worker < 2; worker++) {
        stats_service_read_add(&service, &service_sum);
        stats_backend_read_add(&backend, &backend_sum);
    }
    value = 0;
#define CHECK_SERVICE(name, help) assert_int_equal(service_sum.name, 2 * ++value);
#define CHECK_BACKEND(name, help) assert_int_equal(backend_sum.name, 2 * ++value);
    STATS_SERVICE_COUNTERS(CHECK_SERVICE)
    STATS_BACKEND_COUNTERS(CHECK_BACKEND)
    for (unsigned i = 0; i < STATS_CLOSE_COUNT; i++) {
        assert_int_equal(service_sum.closed[i], 2 * ++value);
    }
    for (unsigned i = 0; i < STATS_ERROR_COUNT; i++) {
        assert_int_equal(backend_sum.errors[i], 2 * ++value);
    }
    assert_int_equal(backend_sum.connect_us.count, 2);
    assert_int_equal(backend_sum.connect_us.sum_us, 6);
    assert_int_equal(backend_sum.response_us.sum_us, 8);
}

struct writer {
    struct histogram histogram;
    _Atomic bool done;
};

static void *writer_run(void *context)
{
    struct writer *writer = context;
    for (unsigned i = 0; i < 200000; i++) {
        histogram_record(&writer->histogram, i % 1000);
    }
    atomic_store(&writer->done, true);
    return NULL;
}

static void a_reader_may_look_while_it_is_written(void **state)
{
    static struct writer writer;
    pthread_t thread;
    uint64_t last = 0;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, writer_run, &writer), 0);
    while (!atomic_load(&writer.done)) {
        struct histogram_reading reading = {0};
        histogram_read_add(&writer.histogram, &reading);
        assert_true(reading.count >= last);
        last = reading.count;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    struct histogram_reading reading = {0};
    histogram_read_add(&writer.histogram, &reading);
    assert_int_equal(reading.count, 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_everything_without_gaps),
        cmocka_unit_test(quantiles_are_within_the_error_bound),
        cmocka_unit_test(small_samples_are_exact),
        cmocka_unit_test(windows_are_differences_also_across_a_wrap),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(every_counter_is_summed),
        cmocka_unit_test(a_reader_may_look_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
