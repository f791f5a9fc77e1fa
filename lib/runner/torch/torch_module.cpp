// The module's one exported symbol.
#include "runner/module_abi.hpp"
#include "runner/torch/torch_runner.hpp"
#include "tidegate/version.hpp"

extern "C" __attribute__((visibility("default"))) const tidegate::ModuleHeader* tidegate_module() {
  static const tidegate::ModuleTable table = {
      {tidegate::build_id(), "torch", tidegate::torch_facts}, nullptr, nullptr, nullptr, tidegate::TorchRunner::create,
  };
  return &table;
}
