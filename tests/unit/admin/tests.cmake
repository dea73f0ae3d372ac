unit_test(tokens admin shunt_commands)
unit_test(commands admin shunt_commands)

add_executable(commands_reference support/commands_reference.c)
target_link_libraries(commands_reference PRIVATE shunt_commands)
add_test(NAME lint.docs.commands COMMAND commands_reference --check ${PROJECT_SOURCE_DIR}/docs/commands.md)
add_test(NAME unit.admin.shuntctl COMMAND ${PYTHON} ${CMAKE_CURRENT_LIST_DIR}/test_shuntctl.py $<TARGET_FILE:shuntctl>)
set_tests_properties(lint.docs.commands PROPERTIES LABELS lint)
set_tests_properties(unit.admin.shuntctl PROPERTIES LABELS unit TIMEOUT 60)

# On the real rooms below, except for the figures of the data path and of the checks.
add_library(admin_support STATIC unit/admin/support.c unit/admin/wire.c)
target_compile_definitions(admin_support PUBLIC SHUNT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
target_link_libraries(admin_support PUBLIC shunt_admin PkgConfig::CMOCKA)
foreach(name dispatch client server status connections)
  unit_test(${name} admin admin_support)
  target_sources(test_${name} PRIVATE unit/admin/fake_below.c)
endforeach()
