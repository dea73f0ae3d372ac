unit_test(targets daemon shunt_daemon)
unit_test(sandbox daemon shunt_daemon PkgConfig::LIBCAP)
unit_test(channel daemon shunt_daemon)
