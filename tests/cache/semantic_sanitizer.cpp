// What ThreadSanitizer must not report about hnswlib.
#if defined(__SANITIZE_THREAD__)

// Seen by the sanitizer only if it is visible.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_suppressions() {
  // It locks nodes in the order of its search, which differs from one insertion to the next. A
  // graph of ours is used by one thread at a time, so nobody waits for anybody.
  return "deadlock:hnswlib\n";
}

#endif
