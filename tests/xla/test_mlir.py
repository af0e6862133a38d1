import threading

import ml_dtypes
import numpy as np
import pytest

from functrax.errors import ArgumentError, DtypeError, InternalError
from functrax.xla import mlir
from functrax.xla.context import MlirContext

F32 = np.dtype("float32")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (bool, "i1"),
        (np.int8, "i8"),
        (np.uint8, "ui8"),
        (np.uint64, "ui64"),
        (np.float16, "f16"),
        (ml_dtypes.bfloat16, "bf16"),
        (ml_dtypes.float8_e4m3fn, "f8E4M3FN"),
        (ml_dtypes.float8_e5m2, "f8E5M2"),
        (ml_dtypes.int4, "i4"),
        (ml_dtypes.uint2, "ui2"),
        (np.complex64, "complex<f32>"),
        (np.complex128, "complex<f64>"),
    ],
)
def test_element_types(dtype, name, context):
    assert str(context.tensor_type((2, 0), np.dtype(dtype))) == f"tensor<2x0x{name}>"


def test_types_and_attributes_are_made_once(context):
    assert context.tensor_type((2,), F32) is context.tensor_type((2,), F32)
    assert context.i64_array([1, 2]) is context.i64_array((1, 2))
    assert context.comparison("EQ") is context.comparison("EQ")
    assert context.comparison("EQ") != context.comparison("NE")
    assert context.location("a.py", 1, name="x") is context.location("a.py", 1, name="x")
    assert context.location("a.py", 1, name="x") != context.location("a.py", 1, name="y")


def test_a_dtype_that_xla_lacks(context):
    with pytest.raises(DtypeError) as caught:
        context.tensor_type((), np.dtype("longdouble"))
    assert "float128" in caught.value.got


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda c: c.i32(-3), "-3 : i32"),
        (lambda c: c.i64(3), "3 : i64"),
        (lambda c: c.ui8(65), "65 : ui8"),
        (lambda c: c.ui64(1), "1 : ui64"),
        (lambda c: c.f32(0.5), "5.000000e-01 : f32"),
        (lambda c: c.f32(-0.0), "-0.000000e+00 : f32"),
        (lambda c: c.bool_attr(True), "true"),
        (lambda c: c.bool_array((True, False)), "array<i1: true, false>"),
        (lambda c: c.i64_array([]), "array<i64>"),
        (lambda c: c.string("a"), '"a"'),
        (lambda c: c.symbol("f"), "@f"),
        (lambda c: c.unit(), "unit"),
        (lambda c: c.dictionary({"a": c.i32(1)}), "{a = 1 : i32}"),
        (
            lambda c: c.dense_i64_matrix(((1, 2), (3, 4))),
            "dense<[[1, 2], [3, 4]]> : tensor<2x2xi64>",
        ),
        (lambda c: c.dense_i64_matrix(()), "dense<> : tensor<0x2xi64>"),
        (lambda c: c.dense_i64_matrix(((0, 1, 2),)), "dense<[[0, 1, 2]]> : tensor<1x3xi64>"),
        (lambda c: c.index_vector((1, 0)), "dense<[1, 0]> : tensor<2xindex>"),
        (lambda c: c.index_vector(()), "dense<> : tensor<0xindex>"),
        (lambda c: c.comparison("LT"), "#stablehlo<comparison_direction LT>"),
        (lambda c: c.comparison_type("TOTALORDER"), "#stablehlo<comparison_type TOTALORDER>"),
        (lambda c: c.channel_handle(3), "#stablehlo.channel_handle<handle = 3, type = 1>"),
        (lambda c: c.fft_type("RFFT"), "#stablehlo<fft_type RFFT>"),
        (lambda c: c.transpose("ADJOINT"), "#stablehlo<transpose ADJOINT>"),
        (lambda c: c.rng_algorithm("PHILOX"), "#stablehlo<rng_algorithm PHILOX>"),
        (
            lambda c: c.precision(("DEFAULT", "HIGHEST")),
            "[#stablehlo<precision DEFAULT>, #stablehlo<precision HIGHEST>]",
        ),
        (
            lambda c: c.dot_dimension_numbers((0,), (1,), (2,), (0,)),
            "#stablehlo.dot<lhs_batching_dimensions = [0], rhs_batching_dimensions = [1], "
            "lhs_contracting_dimensions = [2], rhs_contracting_dimensions = [0]>",
        ),
        (
            lambda c: c.conv_dimension_numbers(0, 1, (2,), 1, 0, (2,), 0, 1, (2,)),
            "#stablehlo.conv<[b, f, 0]x[o, i, 0]->[b, f, 0]>",
        ),
        (
            lambda c: c.gather_dimension_numbers((1,), (0,), (), (), (0,), 1),
            "#stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], "
            "start_index_map = [0], index_vector_dim = 1>",
        ),
        (
            lambda c: c.scatter_dimension_numbers((1,), (0,), (), (), (0,), 1),
            "#stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0], "
            "scatter_dims_to_operand_dims = [0], index_vector_dim = 1>",
        ),
        (
            lambda c: c.dot_algorithm(*[c.element_type(np.dtype("float32"))] * 3),
            "#stablehlo.dot_algorithm<lhs_precision_type = f32, rhs_precision_type = f32, "
            "accumulation_type = f32, lhs_component_count = 1, rhs_component_count = 1, "
            "num_primitive_operations = 1, allow_imprecise_accumulation = false>",
        ),
        (
            lambda c: c.output_operand_alias((1,), 0),
            "#stablehlo.output_operand_alias<output_tuple_indices = [1], operand_index = 0, "
            "operand_tuple_indices = []>",
        ),
        (
            lambda c: c.parse_attribute('#sdy.sharding<@m, [{"a"}]>'),
            '#sdy.sharding<@m, [{"a"}]>',
        ),
    ],
)
def test_attributes(make, text, context):
    assert str(make(context)) == text


@pytest.mark.parametrize(
    ("array", "splat"),
    [
        (np.zeros(1000, np.float32), True),
        (np.ones((30, 30), bool), True),
        (np.full(99, 1 + 2j), True),
        (np.full(99, np.nan), True),
        (np.r_[np.zeros(50), -0.0, np.zeros(50)], False),
        (np.arange(50), False),
        (np.zeros(50, ">i4"), True),
    ],
    ids=["zeros", "bools", "complex", "nan", "minus-zero", "range", "big-endian"],
)
def test_constants_of_equal_elements_are_splats(array, splat, context):
    attribute = context.constant(array)
    assert attribute.is_splat == splat
    assert list(attribute.type.shape) == list(array.shape)


@pytest.mark.parametrize("parse", ["parse_attribute", "parse_type"])
def test_text_that_does_not_parse(parse, context):
    with pytest.raises(ArgumentError) as caught:
        getattr(context, parse)("#nonsense<")
    assert "#nonsense<" in caught.value.got


def test_each_thread_has_its_own_context(context):
    seen = []
    thread = threading.Thread(
        target=lambda: seen.extend([mlir.mlir_context(), mlir.mlir_context()])
    )
    thread.start()
    thread.join()
    assert mlir.mlir_context() is context
    assert seen[0] is seen[1] is not context


def test_a_module_with_a_call_and_a_loop_body(context):
    """The text is what the program says: attributes, regions, calls and locations."""
    module = mlir.new_module(context, "m", {"mhlo.num_partitions": context.i32(2)})
    scalar = context.tensor_type((), F32)
    _, inner = mlir.add_function(context, module, "inner", [scalar], [scalar])
    with mlir.insert_at_end(inner):
        mlir.return_values(context, inner.arguments, "func.return")
    _, block = mlir.add_function(
        context,
        module,
        "main",
        [scalar],
        [scalar],
        public=True,
        argument_attributes=[{"tf.aliasing_output": context.i32(0)}],
        result_attributes=[{"mhlo.layout_mode": context.string("default")}],
        argument_locations=[context.location("x.py", 1)],
    )
    place = context.location("user.py", 7, 3, "layer/if")
    flag = context.constant(np.array(True))
    with mlir.insert_at_end(block):
        (value,) = mlir.call(context, "inner", [scalar], block.arguments, place).results
        kind = context.tensor_type((), np.dtype(bool))
        which = mlir.operation(context, "stablehlo.constant", [kind], [], {"value": flag}).result
        branch = mlir.operation(context, "stablehlo.if", [scalar], [which], None, place, regions=2)
        for region in branch.regions:
            body = mlir.append_block(context, region, [])
            with mlir.insert_at_end(body):
                mlir.return_values(context, [value])
        mlir.return_values(context, branch.results, "func.return")
    mlir.verify(module)
    text = mlir.module_text(module)
    assert "module @m attributes {mhlo.num_partitions = 2 : i32}" in text
    assert "func.func private @inner(%arg0: tensor<f32>) -> tensor<f32>" in text
    assert "%arg0: tensor<f32> {tf.aliasing_output = 0 : i32}" in text
    assert '-> (tensor<f32> {mhlo.layout_mode = "default"})' in text
    assert "call @inner(%arg0)" in text
    assert "user.py" not in text
    source = mlir.module_text(module, source=True)
    assert 'loc("user.py":7:3)' in source
    assert "layer/if" in source
    assert 'loc("x.py":1:0)' in source


def test_bytes_do_not_depend_on_locations_and_name(build, context):
    def body_at(line):
        place = context.location("user.py", line)
        return lambda x: mlir.operation(context, "stablehlo.sine", [x.type], [x], loc=place).results

    types = [((3,), "float32")]
    first, second = (build(types, types, body_at(line)) for line in (1, 2))
    second.operation.attributes["sym_name"] = context.string("other")
    assert mlir.module_bytes(first) == mlir.module_bytes(second)
    assert mlir.module_text(first, source=True) != mlir.module_text(second, source=True)
    other = build(types, types, lambda x: [x])
    assert mlir.module_bytes(first) != mlir.module_bytes(other)


def test_bytes_and_text_are_read_back(build):
    module = build([((3,), "int8")], [((3,), "int8")], lambda x: [x])
    text = mlir.module_text(module)
    assert mlir.module_text(mlir.parse_module(text)) == text
    nameless = mlir.parse_module(mlir.module_bytes(module), MlirContext())
    assert mlir.module_text(nameless) == text.replace("module @test {", "module {")


@pytest.mark.parametrize(
    "read",
    [
        lambda: mlir.parse_module("module {"),
        lambda: mlir.deserialize_portable(b"nonsense"),
        lambda: mlir.refine_shapes(b"nonsense"),
    ],
)
def test_damaged_modules(read):
    with pytest.raises(ArgumentError):
        read()


def test_verify_finds_a_wrong_module(context):
    module = mlir.new_module(context)
    one, two = (context.tensor_type((n,), F32) for n in (1, 2))
    _, block = mlir.add_function(context, module, "main", [one], [two], public=True)
    with mlir.insert_at_end(block):
        mlir.return_values(context, block.arguments, "func.return")
    with pytest.raises(InternalError) as caught:
        mlir.verify(module)
    assert "tensor<1xf32>" in caught.value.got


DYNAMIC = """
func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = stablehlo.convert %x : (tensor<4xf32>) -> tensor<?xf32>
  %size = stablehlo.get_dimension_size %y, dim = 0 : (tensor<?xf32>) -> tensor<i32>
  %least = stablehlo.constant dense<LEAST> : tensor<i32>
  %ok = stablehlo.compare GE, %size, %least : (tensor<i32>, tensor<i32>) -> tensor<i1>
  stablehlo.custom_call @shape_assertion(%ok, %size) {
    has_side_effect = true, error_message = "expected at least LEAST rows, got {0}"
  } : (tensor<i1>, tensor<i32>) -> ()
  %z = stablehlo.sine %y : tensor<?xf32>
  %r = stablehlo.convert %z : (tensor<?xf32>) -> tensor<4xf32>
  return %r : tensor<4xf32>
}
"""


def test_shapes_are_refined():
    module = mlir.parse_module(DYNAMIC.replace("LEAST", "3"))
    refined = mlir.parse_module(mlir.refine_shapes(mlir.module_bytes(module)))
    assert "?" not in mlir.module_text(refined)


def test_shape_assertions_speak():
    module = mlir.parse_module(DYNAMIC.replace("LEAST", "9"))
    with pytest.raises(ArgumentError) as caught:
        mlir.refine_shapes(mlir.module_bytes(module))
    assert "expected at least 9 rows, got 4" in caught.value.got


def test_attributes_do_not_load_jaxlibs_wrappers(python):
    code = """
        import sys
        from functrax.xla.mlir import mlir_context
        context = mlir_context()
        print(context.comparison("LT"), context.dot_dimension_numbers((), (), (1,), (0,)))
        print("jaxlib.mlir.dialects.stablehlo" in sys.modules)
        from jaxlib.mlir.dialects import stablehlo
        print(type(stablehlo.ComparisonDirectionAttr.get("EQ", context.context)).__name__)
        """
    assert python(code).splitlines() == [
        "#stablehlo<comparison_direction LT> #stablehlo.dot<lhs_contracting_dimensions = [1], "
        "rhs_contracting_dimensions = [0]>",
        "False",
        "ComparisonDirectionAttr",
    ]
