"""The parts of bench/run: processes, contenders, workloads, report."""
