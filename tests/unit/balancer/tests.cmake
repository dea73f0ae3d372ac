add_library(balancer_support STATIC unit/balancer/support.c)
target_link_libraries(balancer_support PUBLIC shunt_balancer PkgConfig::CMOCKA)
unit_test(share balancer balancer_support)
unit_test(routing balancer balancer_support)
