// TIDEGATE_UNSANITIZED: for functions that read what others may write meanwhile.
#pragma once

/// Neither the thread nor the address sanitizer looks at the function. For reads whose result is used only
/// after a sequence has shown that nothing was written (see cache/sequence.hpp).
#define TIDEGATE_UNSANITIZED __attribute__((no_sanitize("thread", "address")))
