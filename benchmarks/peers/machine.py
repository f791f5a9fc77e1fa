"""The machine and the versions that a table must name."""
import importlib.metadata
import os
import pathlib
import platform
import subprocess

# What decides the speed of the products, as Linux names it.
FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
         "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
PACKAGES = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf", "ctranslate2", "numpy")
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


def cpu_facts():
    facts = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    return facts


def describe_machine():
    facts = cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "family": facts.get("cpu family"), "model": facts.get("model"),
        "cores": len(os.sched_getaffinity(0)), "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}", "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions(packages=PACKAGES):
    found = {"python": platform.python_version(), "tidegate": native_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def native_version():
    try:
        commit = subprocess.run(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], check=True,
                                capture_output=True, text=True)
        return commit.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"
