unit_test(verdict health shunt_health)
unit_test(probe_tcp health shunt_health)
unit_test(health health shunt_health)
