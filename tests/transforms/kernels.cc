// What tests/transforms/test_ffi.py calls; compiled there against the headers that jaxlib brings.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using F32 = ffi::Buffer<ffi::F32>;
using F32Result = ffi::ResultBuffer<ffi::F32>;

static int64_t calls = 0;
extern "C" int64_t Calls() { return calls; }

// z = a x + y, operands with fewer elements repeated.
static ffi::Error AxpyImpl(float a, F32 x, F32 y, F32Result z) {
  ++calls;
  for (size_t i = 0; i < z->element_count(); ++i)
    z->typed_data()[i] =
        a * x.typed_data()[i % x.element_count()] + y.typed_data()[i % y.element_count()];
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Axpy, AxpyImpl, ffi::Ffi::Bind().Attr<float>("a").Arg<F32>().Arg<F32>().Ret<F32>());

// The sum, and the elements in reverse order.
static ffi::Error TwoImpl(F32 x, F32Result sum, F32Result reversed) {
  float total = 0;
  const size_t count = x.element_count();
  for (size_t i = 0; i < count; ++i) {
    total += x.typed_data()[i];
    reversed->typed_data()[i] = x.typed_data()[count - 1 - i];
  }
  sum->typed_data()[0] = total;
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(Two, TwoImpl, ffi::Ffi::Bind().Arg<F32>().Ret<F32>().Ret<F32>());

// The bytes, of any type and shape.
static ffi::Error CopyImpl(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y) {
  if (x.size_bytes()) std::memcpy(y->untyped_data(), x.untyped_data(), x.size_bytes());
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Copy, CopyImpl, ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());

// x + 1, written over x.
static ffi::Error InPlaceImpl(F32 x, F32Result y) {
  if (x.untyped_data() != y->untyped_data()) return ffi::Error::Internal("not one buffer");
  for (size_t i = 0; i < y->element_count(); ++i) y->typed_data()[i] += 1;
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(InPlace, InPlaceImpl, ffi::Ffi::Bind().Arg<F32>().Ret<F32>());

// Every kind of attribute, as numbers.
static ffi::Error ShowImpl(bool flag, int8_t i8, int32_t i32, uint64_t u64, int64_t integer,
                           double real, std::string_view text, ffi::Span<const int64_t> array,
                           ffi::Span<const float> splat, ffi::Dictionary inner,
                           ffi::ResultBuffer<ffi::F64> out) {
  auto nested = inner.get<ffi::Dictionary>("deep");
  if (nested.has_error()) return nested.error();
  auto deep = nested->get<int64_t>("n");
  if (deep.has_error()) return deep.error();
  double sum = 0;
  for (float x : splat) sum += x;
  const double all[] = {double(flag), double(i8), double(i32), double(u64 >> 63),
                        double(integer), real, double(text.size()), double(array.size()),
                        array.size() ? double(array[array.size() - 1]) : 0, sum, double(*deep)};
  std::memcpy(out->untyped_data(), all, sizeof(all));
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(Show, ShowImpl,
                              ffi::Ffi::Bind()
                                  .Attr<bool>("flag")
                                  .Attr<int8_t>("i8")
                                  .Attr<int32_t>("i32")
                                  .Attr<uint64_t>("u64")
                                  .Attr<int64_t>("integer")
                                  .Attr<double>("real")
                                  .Attr<std::string_view>("text")
                                  .Attr<ffi::Span<const int64_t>>("array")
                                  .Attr<ffi::Span<const float>>("splat")
                                  .Attr<ffi::Dictionary>("inner")
                                  .Ret<ffi::Buffer<ffi::F64>>());

// Called for what it does.
static ffi::Error CountImpl(ffi::RemainingArgs) {
  ++calls;
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(Count, CountImpl, ffi::Ffi::Bind().RemainingArgs());

static ffi::Error FailImpl(ffi::RemainingArgs, ffi::RemainingRets) {
  ++calls;
  return ffi::Error::InvalidArgument("the kernel says no");
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(Fail, FailImpl, ffi::Ffi::Bind().RemainingArgs().RemainingRets());

// How often it was called since its program was compiled.
struct Memory {
  static ffi::TypeId id;
  int calls = 0;
};
ffi::TypeId Memory::id = {};
static XLA_FFI_TypeInfo memory_info = ffi::MakeTypeInfo<Memory>();
extern "C" void* MemoryId() { return &Memory::id; }
extern "C" void* MemoryInfo() { return &memory_info; }
static ffi::ErrorOr<std::unique_ptr<Memory>> RememberMakeImpl() {
  return std::make_unique<Memory>();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(RememberMake, RememberMakeImpl, ffi::Ffi::BindInstantiate());
static ffi::Error RememberImpl(Memory* memory, ffi::ResultBuffer<ffi::S32> out) {
  out->typed_data()[0] = ++memory->calls;
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Remember, RememberImpl,
    ffi::Ffi::Bind().Ctx<ffi::State<Memory>>().Ret<ffi::Buffer<ffi::S32>>());

// The older calling convention.
extern "C" void Old(void* out, const void** in) {
  for (int i = 0; i < 4; ++i)
    static_cast<float*>(out)[i] = 2 * static_cast<const float*>(in[0])[i];
}
