extern "C" int tidegate_test_absent() { return 1; }
