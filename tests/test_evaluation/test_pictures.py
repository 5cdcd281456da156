"""Pictures of restored frames."""
import pytest
import torch
from mmagic.structures import DataSample

from dksan_mm.evaluation import RestoredFrameVisualizer


@pytest.mark.parametrize('info, name', [
    (dict(key='00001/0266/im4'), '00001_0266_im4'),
    (dict(key='00002/0266/im4'), '00002_0266_im4'),
    (dict(key='000'), '000'),
    (dict(gt_path=['x/a b.c/0001.png']), 'a_b_c_0001'),
])
def test_names_are_of_sequence_and_frame(info, name):
    names = []

    class Noting:

        def add_image(self, name, image, step):
            names.append(name)

    visualizer = RestoredFrameVisualizer()
    visualizer._vis_backends = dict(noting=Noting())
    visualizer.add_datasample(
        DataSample(
            metainfo={
                'gt_path': ['x/0266/im4.png'],
                **info
            },
            gt_img=torch.zeros(3, 4, 5),
            pred_img=torch.zeros(3, 4, 5)))
    assert names == [name]
