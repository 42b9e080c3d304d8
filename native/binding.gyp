{
  "targets": [
    {
      "target_name": "tsray",
      "sources": ["src/addon.cc", "src/views.cc", "src/arena.cc", "src/free_tree.cc", "src/repair.cc", "src/spill.cc", "src/copy.cc", "src/process.cc", "src/pulse.cc"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags_cc": ["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
      "ldflags": ["-pthread", "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections", "-Wl,-z,lazy"]
    }
  ]
}
