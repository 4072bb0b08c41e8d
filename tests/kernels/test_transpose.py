"""Transposed matrices, and their derivatives."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geqlib.kernels.transpose import transposed


@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (0, 3), (3, 0)])
def test_equals_the_view(shape):
    x = torch.randn(shape)
    y = transposed(x)
    assert torch.equal(y, x.t())
    assert y.is_contiguous()


def test_a_scale_is_part_of_it():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    y = transposed(x, 0.25)
    assert torch.equal(y, x.t() / 4) and y.is_contiguous()
    assert gradcheck(lambda x: transposed(x, 0.25) ** 2, x, check_forward_ad=True)
    assert gradgradcheck(lambda x: transposed(x, 0.25) ** 3, x)
    several = torch.stack([x, 2 * x])
    assert torch.equal(torch.func.vmap(lambda x: transposed(x, 0.25))(several), several.mT / 4)


def test_gradients_lie_in_one_piece():
    x = torch.randn(3, 4, requires_grad=True)
    strides = []
    y = x * 1
    y.register_hook(lambda g: strides.append(g.stride()))
    transposed(y).sum().backward()
    assert strides == [(4, 1)]


def test_derivatives():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 3, dtype=torch.float64)
    assert gradcheck(lambda x: transposed(x) ** 2 * w, x, check_forward_ad=True)
    assert gradgradcheck(lambda x: transposed(x) ** 3 * w, x)


def test_transforms_of_functions():
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    assert torch.equal(torch.func.vmap(transposed)(x), x.mT)
    hessian = torch.func.hessian(lambda v: (transposed(v) ** 3).sum())(x[0])
    expected = torch.diag_embed((6 * x[0]).flatten()).view(3, 4, 3, 4)
    torch.testing.assert_close(hessian, expected)
