# The demo, short: a whole migration, and one in which the new version breaks.
foreach(kind complete break)
  add_test(NAME demo.${kind} COMMAND ${PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/demo.py $<TARGET_FILE:shuntd> ${kind})
  set_tests_properties(demo.${kind} PROPERTIES LABELS e2e TIMEOUT 120)
endforeach()
