unit_test(plan migration shunt_migration)
unit_test(journal migration shunt_migration)
unit_test(machine migration shunt_migration)
unit_test(controller migration shunt_migration)
