"""Tiny networks of every kind, in which no layer is at zero."""
import torch
from torch import nn

from dksan_mm.models import (BicubicUpsampler, DKSANNet,
                             ExtremeBasicVSRPlusPlusNet, ExtremeEDVRNet,
                             SelfEnsemble)

DKSAN = dict(
    mid_channels=4,
    num_frames=3,
    num_blocks=(1, 1),
    num_extraction_blocks=1,
    num_align_layers=1,
    deform_groups=2,
    num_dksa_layers=1,
    reduction=2)
PLAIN = dict(
    with_channel_attention=False, with_alignment=False, with_dksa=False)
EDVR = dict(
    mid_channels=8,
    num_frames=3,
    deform_groups=2,
    num_blocks_extraction=1,
    num_blocks_reconstruction=1,
    hr_channels=4)
BASICVSR = dict(mid_channels=8, num_blocks=1, num_frames=3)


def ensemble(**kwargs):
    return SelfEnsemble(DKSANNet(**kwargs), temporal=True)


KINDS = {
    'dksan': (DKSANNet, DKSAN),
    'dksan-flow-guided': (DKSANNet, dict(DKSAN, flow_guided=True)),
    'dksan-plain': (DKSANNet, dict(DKSAN, **PLAIN)),
    'dksan-of-one-frame': (DKSANNet, dict(DKSAN, num_frames=1)),
    'edvr': (ExtremeEDVRNet, EDVR),
    'edvr-without-tsa': (ExtremeEDVRNet, dict(EDVR, with_tsa=False)),
    'basicvsr': (ExtremeBasicVSRPlusPlusNet, BASICVSR),
    'bicubic': (BicubicUpsampler, dict(scale=4)),
    'ensemble': (ensemble, DKSAN)
}


def randomise(net, std=0.1):
    """Give every layer something to do: no offset stays at zero, and no ReLU
    is closed."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=std)
        else:
            nn.init.uniform_(parameter, 0.1, 0.3)
    return net.eval()


def make_network(kind, **changes):
    """Return a network of ``KINDS``, with other arguments."""
    make, arguments = KINDS[kind]
    # a larger flow would lead out of the frames
    std = 0.05 if kind == 'basicvsr' else 0.1
    return randomise(make(**{**arguments, **changes}), std)
