# The soak, short: all that it does, three rounds of it. scripts/soak runs it for longer.
add_test(NAME soak COMMAND ${PYTHON} -B ${CMAKE_CURRENT_SOURCE_DIR}/soak/soak.py 0.6 300 --churn 25 --upgrade-every 2)
set_tests_properties(soak PROPERTIES LABELS "e2e;slow" TIMEOUT 300 ENVIRONMENT "SHUNT_BUILD=${CMAKE_BINARY_DIR};SHUNT_SLOW=${e2e_slow};SHUNT_SANITIZE=${SHUNT_SANITIZE}")
