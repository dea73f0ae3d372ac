unit_test(addr core shunt_core)
unit_test(clock core shunt_core)
unit_test(config core shunt_core)
unit_test(deadline core shunt_core)
unit_test(config_errors core shunt_core)
unit_test(config_hostile core shunt_core)
unit_test(err core shunt_core)
unit_test(hash core shunt_core)
unit_test(mailbox core shunt_core)
unit_test(units core shunt_core)
unit_test(failpoint core shunt_core)
unit_test(worker core shunt_core)
target_compile_definitions(test_config PRIVATE SOURCE_DIR="${PROJECT_SOURCE_DIR}")
target_compile_definitions(test_config_hostile PRIVATE SOURCE_DIR="${PROJECT_SOURCE_DIR}")
# So that each allocation of ours can be made to fail.
target_link_options(test_config_hostile PRIVATE
  LINKER:--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup,--wrap=vasprintf,--wrap=asprintf
  LINKER:--wrap=open_memstream)
