# Programs that tests and generated documents need.
add_executable(settings_reference_print support/settings_reference.c)
target_link_libraries(settings_reference_print PRIVATE shunt_core)
add_custom_target(settings_reference
  COMMAND settings_reference_print > ${PROJECT_SOURCE_DIR}/docs/settings.md
  COMMENT "docs/settings.md from the table of settings")

# Preloaded into shuntd by tests/e2e/test_faults.py. Not where a sanitizer owns the allocator.
if(NOT SHUNT_SANITIZE)
  add_library(faults SHARED support/faults/shim.c)
  target_link_libraries(faults PRIVATE ${CMAKE_DL_LIBS})
endif()

add_test(NAME lint.settings_reference
  COMMAND sh -c "$<TARGET_FILE:settings_reference_print> | diff -u '${PROJECT_SOURCE_DIR}/docs/settings.md' - || \
{ echo 'docs/settings.md is stale: build the target settings_reference'; exit 1; }")
set_tests_properties(lint.settings_reference PROPERTIES LABELS lint TIMEOUT 30)
