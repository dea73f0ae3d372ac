add_library(proxy_rig STATIC unit/proxy/rig.c)
target_link_libraries(proxy_rig PUBLIC shunt_proxy PkgConfig::CMOCKA)
target_include_directories(proxy_rig PUBLIC ${PROJECT_SOURCE_DIR})

unit_test(conn_state proxy shunt_proxy)
unit_test(pipes proxy shunt_proxy)
unit_test(ends proxy proxy_rig)
unit_test(resets proxy proxy_rig)
unit_test(connect proxy proxy_rig)
