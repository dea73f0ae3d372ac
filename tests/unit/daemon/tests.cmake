unit_test(targets daemon shunt_daemon)
