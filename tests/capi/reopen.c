/* The library can be opened and closed any number of times, and a program may end
 * without shutting its runtime down. argv[1] is the library. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

typedef uint32_t (*version_fn)(void);
typedef int32_t (*create_fn)(const void* config, void** runtime, void** err);

/* ISO C has no cast from object to function pointer; the union is dlsym's own way. */
union symbol {
  void* object;
  version_fn version;
  create_fn create;
};

int main(int argc, char** argv) {
  void* runtime = NULL;
  union symbol symbol;
  int round;
  if (argc < 2) return 2;
  for (round = 0; round < 100; ++round) {
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    symbol.object = dlsym(library, "tidegate_abi_version");
    if (symbol.object == NULL || symbol.version() >> 16 != 1) return 1;
    if (round == 50) {
      symbol.object = dlsym(library, "tidegate_runtime_create");
      if (symbol.object == NULL || symbol.create(NULL, &runtime, NULL) != 0) return 1;
    }
    if (dlclose(library) != 0) return 1;
  }
  puts("reopen: ok");
  return 0;
}
