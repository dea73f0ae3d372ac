# Stories of a migration under a clock that jumps: tests/sim/scenarios/*.scn, each its own test.
add_library(sim_world STATIC sim/world.c)
target_link_libraries(sim_world PUBLIC shunt_migration)
add_executable(scenario sim/scenario.c sim/scenario_settings.c)
target_link_libraries(scenario PRIVATE sim_world)
file(GLOB scenarios CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/sim/scenarios/*.scn)
foreach(path ${scenarios})
  get_filename_component(name ${path} NAME_WE)
  add_test(NAME sim.scenario.${name} COMMAND scenario ${path})
  set_tests_properties(sim.scenario.${name} PROPERTIES LABELS "sim;unit" TIMEOUT 60)
endforeach()

# Kills a migration with SIGKILL at each write of its journal and prints what it came back with.
add_executable(kill_points sim/kill_points.c)
target_link_libraries(kill_points PRIVATE sim_world)
add_test(NAME sim.kill_points COMMAND kill_points)
set_tests_properties(sim.kill_points PROPERTIES LABELS "sim;unit" TIMEOUT 120)

# Simulated migrations under the gate: false alarms and connections until a bad group is found (docs/gate.md).
add_executable(gate_sim sim/gate_sim.c)
target_link_libraries(gate_sim PRIVATE shunt_migration)
add_test(NAME sim.gate COMMAND gate_sim --check 12)
set_tests_properties(sim.gate PROPERTIES LABELS sim TIMEOUT 600)
