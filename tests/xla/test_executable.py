import numpy as np
import pytest

from functrax.errors import ConfigError, DonatedError, ExecutionError, OutOfMemoryError
from functrax.xla import buffers, failure, mlir
from functrax.xla.client import Client
from functrax.xla.executable import MemoryAnalysis
from functrax.xla.options import compile_options

F32 = np.dtype("float32")


def test_calling_and_run_are_the_same(double, put, read):
    x = put(np.arange(4, dtype=np.float32))
    for run in (double, double.run):
        (y,) = run([x])
        assert read(y, (4,), F32).tolist() == [0, 2, 4, 6]


def test_results_in_order(compile_on_cpu, put, read):
    types = [((2,), "float32"), ((3,), "int32")]
    program = compile_on_cpu(types, types[::-1], lambda x, y: [y, x])
    y, x = program([put(np.ones(2, np.float32)), put(np.arange(3, dtype=np.int32))])
    assert read(y, (3,), "int32").tolist() == [0, 1, 2]
    assert read(x, (2,), "float32").tolist() == [1, 1]


def test_no_results_and_no_arguments(compile_on_cpu):
    assert compile_on_cpu([], [], list)([]) == []


def test_too_few_arguments(double):
    with pytest.raises(ExecutionError) as caught:
        double([])
    assert "supplied 0 arguments but compiled program expected 1" in caught.value.got


def test_a_donated_argument_cannot_be_used_again(compile_on_cpu, context, put):
    types = [((4,), "float32")]
    donate = {"jax.buffer_donor": context.bool_attr(True)}
    program = compile_on_cpu(types, types, lambda x: [x], argument_attributes=[donate])
    x = put(np.ones(4, np.float32))
    program([x])
    with pytest.raises(DonatedError) as caught:
        program([x])
    assert caught.value.expected == "live arrays"


def test_one_array_donated_and_passed_twice(compile_on_cpu, context, put):
    types = [((4,), "float32")] * 2
    donate = {"jax.buffer_donor": context.bool_attr(True)}
    program = compile_on_cpu(types, types, lambda *xs: xs, argument_attributes=[donate, {}])
    x = put(np.ones(4, np.float32))
    with pytest.raises(DonatedError) as caught:
        program([x, x])
    assert caught.value.expected == "each donated array once among the arguments"


def test_a_program_that_xla_refuses(compile_on_cpu, context):
    def body(x):
        name = {"call_target_name": context.string("no_such_target")}
        return mlir.operation(context, "stablehlo.custom_call", [x.type], [x], name).results

    with pytest.raises(ExecutionError) as caught:
        compile_on_cpu([((4,), "float32")], [((4,), "float32")], body)
    assert caught.value.call == "compile"
    assert "no_such_target" in caught.value.got


def test_more_memory_than_there_is(python):
    code = """
        import resource
        import numpy as np
        from functrax.errors import OutOfMemoryError
        from functrax.xla import client, mlir, options

        cpu = client.cpu_client(1)
        context = mlir.mlir_context()
        out_type = ((1 << 33,), np.dtype("float32"))
        module = mlir.new_module(context)
        kind = context.tensor_type(*out_type)
        _, block = mlir.add_function(context, module, "main", [], [kind], public=True)
        with mlir.insert_at_end(block):
            dimension = {"iota_dimension": context.i64(0)}
            result = mlir.operation(context, "stablehlo.iota", [kind], [], dimension).result
            mlir.return_values(context, [result], "func.return")
        program = cpu.compile(module, options.compile_options(cpu.devices), [out_type])
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        try:
            program([])
        except OutOfMemoryError as error:
            print(error.got)
        """
    assert "Out of memory allocating 34359738368 bytes" in python(code)


def test_analyses(double):
    assert double.cost_analysis()["flops"] == 4
    assert double.memory_analysis() == MemoryAnalysis(
        argument_size_in_bytes=16,
        output_size_in_bytes=16,
        temp_size_in_bytes=0,
        alias_size_in_bytes=0,
        generated_code_size_in_bytes=0,
        peak_memory_in_bytes=32,
    )
    assert "f32[4]" in double.hlo_text()


def test_a_damaged_serialized_program(cpu, device):
    with pytest.raises(ExecutionError):
        cpu.deserialize(b"nonsense", compile_options([device]), [])


def test_a_program_serializes_by_itself_too(double):
    assert len(double.serialize()) > 100


def test_the_number_of_devices_must_fit(cpu):
    with pytest.raises(ConfigError) as caught:
        compile_options(cpu.devices, num_partitions=4)
    assert caught.value.got == "8 devices"


def test_overrides_reach_xla(build, cpu, device):
    module = build([], [], list)
    options = compile_options([device], overrides={"xla_no_such_option": 1})
    with pytest.raises(ExecutionError) as caught:
        cpu.compile(module, options, [])
    assert "xla_no_such_option" in caught.value.got


def test_the_default_options_are_used_and_can_be_taken_back(device):
    name = "xla_cpu_experimental_ynn_fusion_type"
    assert name in dict(compile_options([device]).raw.env_option_overrides)
    without = compile_options([device], overrides={name: None})
    assert without.raw.env_option_overrides == []


def test_a_buffer_of_another_client(double):
    from functrax.xla._native import jax

    stranger = Client(jax.get_tfrt_cpu_client(num_devices=1))
    buffer = buffers.put(np.ones(4, np.float32), stranger.devices[0])
    with pytest.raises(ExecutionError):
        double([buffer])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes", OutOfMemoryError),
        ("INVALID_ARGUMENT: Buffer has been deleted or donated.", DonatedError),
        ("INTERNAL: something", ExecutionError),
    ],
)
def test_failures_are_sorted(text, kind):
    error = failure.translate(RuntimeError(text), "jit")
    assert type(error) is kind
    assert (error.call, error.got) == ("jit", text)


def test_a_failure_poisons_what_depends_on_it(double, compile_on_cpu, context, read):
    from functrax.xla import callbacks

    def fail(x):
        raise KeyError("from the host")

    types = [((4,), "float32")]
    attributes = callbacks.callback_attributes(context, "cpu", 0, [1], [1], False)
    failing = compile_on_cpu(
        types,
        types,
        lambda x: (
            mlir.operation(context, "stablehlo.custom_call", [x.type], [x], attributes).results
        ),
        callbacks=[callbacks.host_function(fail, [((4,), F32)])],
    )

    def use():
        (x,) = failing([buffers.put(np.ones(4, np.float32), failing.devices[0])])
        (y,) = double([x])
        read(y, (4,), F32)

    with pytest.raises(KeyError, match="from the host"):
        use()
