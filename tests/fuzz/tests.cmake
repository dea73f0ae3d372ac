# Fuzz targets: tests/fuzz/NAME.c with its kept inputs in tests/fuzz/corpus/NAME. In the preset "fuzz" they are libFuzzer programs,
# each a test of SHUNT_FUZZ_SECONDS; in every other build they replay the kept inputs. scripts/fuzz runs them for longer and tells the coverage.
add_library(fuzz_shared OBJECT fuzz/fuzz.c)
target_include_directories(fuzz_shared PUBLIC ${PROJECT_SOURCE_DIR})

# fuzz_target(NAME [LIBS...])
function(fuzz_target name)
  add_executable(fuzz_${name} fuzz/${name}.c)
  target_link_libraries(fuzz_${name} PRIVATE fuzz_shared ${ARGN})
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  if(SHUNT_FUZZ)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    set(work ${CMAKE_CURRENT_BINARY_DIR}/fuzz-work/${name})
    file(MAKE_DIRECTORY ${work})
    add_test(NAME fuzz.${name} COMMAND fuzz_${name} -seed=${SHUNT_FUZZ_SEED}
             -max_total_time=${SHUNT_FUZZ_SECONDS} -timeout=10 -rss_limit_mb=1024
             -max_len=16384 -print_final_stats=1 -verbosity=1 -artifact_prefix=${work}/ ${work} ${corpus})
    math(EXPR most "${SHUNT_FUZZ_SECONDS} + 120")
    set_tests_properties(fuzz.${name} PROPERTIES LABELS fuzz TIMEOUT ${most})
  else()
    target_sources(fuzz_${name} PRIVATE fuzz/replay.c)
    add_test(NAME fuzz.${name} COMMAND fuzz_${name} ${corpus})
    set_tests_properties(fuzz.${name} PROPERTIES LABELS "fuzz;unit" TIMEOUT 120)
  endif()
endfunction()

fuzz_target(texts shunt_core)
fuzz_target(zone shunt_core)
fuzz_target(tokens shunt_admin)
fuzz_target(proxy_protocol shunt_core)
fuzz_target(prefixes shunt_core)
fuzz_target(client_hello shunt_core)
fuzz_target(journal shunt_migration)
fuzz_target(plans shunt_migration)
fuzz_target(includes shunt_core)
fuzz_target(probes shunt_health)

# The whole data path in one process; calls that are to fall short go through the target.
fuzz_target(session shunt_proxy)
target_sources(fuzz_session PRIVATE fuzz/session_rig.c)
target_link_options(fuzz_session PRIVATE LINKER:--wrap=recv,--wrap=send,--wrap=splice,--wrap=pipe2)
