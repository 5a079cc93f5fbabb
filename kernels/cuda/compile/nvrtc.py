"""CUDA C++ to PTX with the NVRTC of this Python's environment.

stdin: {"name": ..., "text": ..., "headers": {name: text}, "options": [...]} as JSON;
stdout: the PTX. What the compiler says goes to stderr; exit code 1 if it refuses.
Nothing is read from the disk, so that no path can enter the result.
"""

import ctypes
import importlib.util
import json
import os
import sys


def library():
    folder = importlib.util.find_spec("nvidia.cuda_nvrtc").submodule_search_locations[0]
    # Found by its name alone when libnvrtc asks for it.
    ctypes.CDLL(os.path.join(folder, "lib", "libnvrtc-builtins.so.12.4"), mode=ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(os.path.join(folder, "lib", "libnvrtc.so.12"))
    lib.nvrtcGetErrorString.restype = ctypes.c_char_p
    return lib


def strings(values):
    return (ctypes.c_char_p * len(values))(*[v.encode() for v in values])


def main():
    lib, job = library(), json.load(sys.stdin.buffer)

    def check(result):
        if result:
            raise SystemExit("nvrtc: " + lib.nvrtcGetErrorString(result).decode())

    def text(size, get):
        n = ctypes.c_size_t()
        check(size(program, ctypes.byref(n)))
        buffer = ctypes.create_string_buffer(n.value)
        check(get(program, buffer))
        return buffer.value

    program, headers = ctypes.c_void_p(), job["headers"]
    check(lib.nvrtcCreateProgram(ctypes.byref(program), job["text"].encode(), job["name"].encode(),
                                 len(headers), strings(headers.values()), strings(headers.keys())))
    result = lib.nvrtcCompileProgram(program, len(job["options"]), strings(job["options"]))
    sys.stderr.buffer.write(text(lib.nvrtcGetProgramLogSize, lib.nvrtcGetProgramLog))
    check(result)
    sys.stdout.buffer.write(text(lib.nvrtcGetPTXSize, lib.nvrtcGetPTX))


main()
