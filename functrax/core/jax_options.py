"""Options of JAX that functrax has no use for."""

#: JAX's options that scripts set and that tune how JAX itself works, not what programs compute:
#: setting one does nothing.
IGNORED = frozenset({
    *("allow_f16_reductions", "array", "bcoo_cusparse_lowering", "captured_constants_warn_bytes"),
    *("check_vma", "compilation_cache_expect_pgle", "compiler_enable_remat_pass", "enable_mlir"),
    *("compilation_cache_include_metadata_in_key", "cpu_enable_async_dispatch", "enable_pgle"),
    *("debug_log_modules", "disable_bwd_checks", "disable_most_optimizations", "enable_memories"),
    *("disable_vmap_shmap_error", "dump_ir_modes", "exec_time_optimization_effort", "spmd_mode"),
    *("experimental_name_stack", "explicit_x64_dtypes", "include_full_tracebacks_in_locations"),
    *("legacy_prng_key", "logging_level", "memory_fitting_effort", "memory_fitting_level"),
    *("optimization_level", "persistent_cache_enable_xla_caches", "pmap_no_rank_reduction"),
    *("pgle_aggregation_percentile", "pgle_profiling_runs", "pmap_shmap_merge", "use_magma"),
    *("send_traceback_to_runtime", "share_binary_between_hosts", "softmax_custom_jvp"),
    *("threefry_gpu_kernel_lowering", "traceback_in_locations_limit", "use_shardy_partitioner"),
    *("tracer_error_num_traceback_frames", "use_direct_linearize"),
})  # fmt: skip

#: JAX's options that would change what a script computes: only JAX's default is taken.
REFUSED: dict[str, tuple[object, str]] = {
    "cuda_visible_devices": ("all", "Set the environment variable CUDA_VISIBLE_DEVICES."),
    "default_dtype_bits": ("64", "Ask for the dtype, or set enable_x64."),
    "dynamic_shapes": (False, "Shapes are static."),
    "high_dynamic_range_gumbel": (False, "Pass mode='high' to random.gumbel and categorical."),
    "xla_backend": ("", "Set platforms."),
}

# The words that some options take.
GUARDS = ("allow", "log", "disallow", "log_explicit", "disallow_explicit")
TRACEBACKS = ("auto", "off", "tracebackhide", "remove_frames", "quiet_remove_frames")
PRECISIONS = (
    *("default", "high", "highest", "bfloat16", "tensorfloat32", "float32"),
    *("ANY_F8_ANY_F8_F32", "ANY_F8_ANY_F8_F32_FAST_ACCUM", "ANY_F8_ANY_F8_ANY"),
    *("ANY_F8_ANY_F8_ANY_FAST_ACCUM", "F16_F16_F16", "F16_F16_F32", "BF16_BF16_BF16"),
    *("BF16_BF16_F32", "BF16_BF16_F32_X3", "BF16_BF16_F32_X6", "BF16_BF16_F32_X9"),
    *("TF32_TF32_F32", "TF32_TF32_F32_X3", "F32_F32_F32", "F64_F64_F64"),
)
