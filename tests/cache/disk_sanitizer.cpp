// What ThreadSanitizer must not report about the distribution's RocksDB.
#if defined(__SANITIZE_THREAD__)

// Seen by the sanitizer only if it is visible.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions() {
  // Built without the sanitizer: its atomics order what its memory functions, which the
  // sanitizer does see, read and write.
  return "called_from_lib:librocksdb.so\nrace:librocksdb.so\n";
}

#endif
