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
    *("tracer_error_num_traceback_frames", "use_direct_linearize", "check_static_indices"),
    *("captured_constants_report_frames", "debug_leaked_clients_on_clear_backends", "scan3"),
    *("check_proxy_envs", "compilation_cache_check_contents", "compiler_detailed_logging_min_ops"),
    *("cpu_get_global_topology_timeout_minutes", "cpu_get_local_topology_timeout_minutes"),
    *("cross_host_transfer_socket_address", "cross_host_transfer_timeout_seconds", "remat3"),
    *("cross_host_transfer_transfer_size", "cross_host_transport_addresses", "custom_vjp3"),
    *("embedded_constants_max_bytes", "enable_preemption_service", "include_debug_info_in_dumps"),
    *("experimental_unsafe_xla_runtime_errors", "export_calling_convention_version"),
    *("export_ignore_forward_compatibility", "force_dcn_cross_host_transfers", "refs_to_pins"),
    *("hlo_source_file_canonicalization_regex", "log_checkpoint_residuals", "mosaic_allow_hlo"),
    *("jax2tf_associative_scan_reductions", "jax2tf_default_native_serialization"),
    *("mutable_array_checks", "pallas_enable_debug_checks", "pallas_poison_buffers"),
    *("pallas_use_mosaic_gpu", "pallas_verbose_errors", "serialization_version"),
    *("ragged_dot_use_gpu_pallas_triton_lowering", "ragged_dot_use_ragged_dot_instruction"),
    *("remove_custom_partitioning_ptr_from_cache_key", "sort_devices_by_process_index"),
    *("share_binary_between_hosts_timeout_ms", "source_url_schema", "xla_profile_version"),
    *("use_emit_pipeline_primitive", "use_simplified_jaxpr_constants", "accurate_erf_inv"),
    *("custom_jvp3", "export_deserialize_expired_versions", "mosaic_unzip_debug_locations"),
    *("pallas_auto_assign_collective_ids", "pallas_auto_assign_collective_ids_limit"),
    *("raise_on_ppermute_sort_diff", "remat_barrier_no_cotangents", "use_cpp_shard_args"),
    *("use_hlo_logistic_lowering", "use_rgv3"),
})  # fmt: skip

#: JAX's options that would change what a script computes: only JAX's default is taken.
REFUSED: dict[str, tuple[object, str]] = {
    "array_garbage_collection_guard": (None, "Arrays are freed when nothing refers to them."),
    "auto_pcast": (True, "Types of what varies are always completed."),
    "backend_target": ("", "Set platforms."),
    "cuda_visible_devices": ("all", "Set the environment variable CUDA_VISIBLE_DEVICES."),
    "default_dtype_bits": ("64", "Ask for the dtype, or set enable_x64."),
    "disallow_mesh_context_manager": (False, "Use set_mesh."),
    "dynamic_shapes": (False, "Shapes are static."),
    "eager_constant_folding": (False, "Use ensure_compile_time_eval."),
    "enable_recoverability": (False, "A process that is lost ends the others."),
    "error_checking_behavior_divide": ("ignore", "Use functrax.checking."),
    "error_checking_behavior_nan": ("ignore", "Set debug_nans, or use functrax.checking."),
    "error_checking_behavior_oob": ("ignore", "Set debug_index, or use functrax.checking."),
    "high_dynamic_range_gumbel": (False, "Pass mode='high' to random.gumbel and categorical."),
    "distributed_verify_secure_credentials": (False, "Connections are not encrypted."),
    "mock_gpu_topology": ("", "Use functrax.topology."),
    "mock_num_gpu_processes": (0, "Use functrax.topology."),
    "mtls_ca_file": (None, "Connections are not encrypted."),
    "mtls_cert_file": (None, "Connections are not encrypted."),
    "mtls_key_file": (None, "Connections are not encrypted."),
    "mtls_peer_uri_prefix": (None, "Connections are not encrypted."),
    "no_execution": (False, "Use eval_shape, or jit(f).lower(...)."),
    "no_tracing": (False, "Use jit(f, max_traces=n)."),
    "oneapi_visible_devices": ("all", "Set the plug-in's own environment variable."),
    "pjrt_client_create_options": (None, "Set the plug-in's own environment variables."),
    "remove_size_one_mesh_axis_from_type": (False, "Types name all axes."),
    "rocm_visible_devices": ("all", "Set the plug-in's own environment variable."),
    "thread_guard": (False, "Any thread may run programs over several processes, in one order."),
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
