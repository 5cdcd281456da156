"""Sequences of LR and HR frames, checked before training starts."""
import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List, Optional, Tuple

from mmagic.datasets import BasicFramesDataset
from mmagic.registry import DATASETS
from mmengine.fileio import get_text

from dksan_mm.video.folders import list_frames
from dksan_mm.video.storage import frame_size, list_sequence
from .seeding import SeededDraws

Size = Tuple[int, int]

_CURE = ('make the data set with a converter in tools/dataset_converters, or '
         'set data_root to where it is')


@DATASETS.register_module()
class VideoSRDataset(SeededDraws, BasicFramesDataset):
    """MMagic's :class:`BasicFramesDataset` for windows of LR frames with
    their HR centre frame.

    Layout below ``data_root``, with ``data_prefix=dict(img='BIx16',
    gt='GT')``::

        BIx16/000/00000000.png, 00000001.png, ...   LR frames
        GT/000/00000000.png, ...                    HR frames, scale x larger
        meta_info.txt                               e.g. "000 120" a line

    or, instead of a sequence's folder, the memory map ``000.npy``, (T, H, W,
    3) uint8 RGB. Transforms use the names above in either case;
    :class:`LoadFrames` reads both.

    The annotation names sequences, each with its number of frames, or single
    frames, "000/00000019.png". All of it is checked here, so that a fault
    shows before training starts and not at iteration 80 000.

    Public data sets are read as MMagic's configs read them: with ``depth=1``
    a sample is a whole sequence, for recurrent networks; with
    ``load_frames_list`` it is a clip such as "00001/0266" of Vimeo-90K, and
    the list names its files.

    Args:
        scale (int): HR size divided by LR size. Default: 16.
        num_input_frames (int): Frames of a window; no sequence may be shorter.
            None means whole sequences. Default: 7.
        any_names (bool): Whether frames may have other names than those above:
            images numbered without a gap, with any number of digits, from any
            number on. They are then identified by their place; 00000000 is the
            first. Default: False.
        num_sequences (int, optional): Required number of sequences, for a data
            set without annotation. Default: None, any number.
        check_frames (bool): Whether to read the header of every frame to
            compare sizes, which takes about 0.1 ms per frame from a local
            disk. Default: True.
        **kwargs: As for :class:`BasicFramesDataset`; ``fixed_seq_len`` is the
        number of frames that each sequence must have.

    Raises:
        FileNotFoundError: A folder, the annotation or a frame is missing.
        ValueError: The data break a rule above; the message names the file,
            the rule, what was found and the cure.
    """

    METAINFO = dict(dataset_type='video_sr', task_name='vsr')

    def __init__(self,
                 *args,
                 scale: int = 16,
                 num_input_frames: Optional[int] = 7,
                 any_names: bool = False,
                 num_sequences: Optional[int] = None,
                 check_frames: bool = True,
                 **kwargs) -> None:
        if not isinstance(scale, int) or scale < 1:
            raise ValueError('scale must be a whole number of at least 1, '
                             f'got {scale!r}')
        self.scale = scale
        self.any_names = any_names
        self.num_sequences = num_sequences
        self.check_frames = check_frames
        kwargs.setdefault('depth', 2)
        kwargs.setdefault('num_output_frames', 1)
        super().__init__(*args, num_input_frames=num_input_frames, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[dict] = None) -> dict:
        """Take values literally: mmengine would read a file, or fail on a
        folder, that happens to have the name of a value."""
        return {**cls.METAINFO, **(metainfo or {})}

    def load_data_list(self) -> List[dict]:
        """Check the folders and the annotation, list the samples, then check
        their frames."""
        for key, folder in self.data_prefix.items():
            if not osp.isdir(folder):
                raise FileNotFoundError(f'the folder of {key!r} frames, '
                                        f'{folder}, does not exist; {_CURE}')
        expected = self._read_annotation()
        where = self.ann_file or self.data_prefix[self.search_key]
        if not expected:
            raise ValueError(f'{where} must name at least one sequence, found '
                             f'none; {_CURE}')
        if self.num_sequences not in (None, len(expected)):
            raise ValueError(
                f'{where} must name {self.num_sequences} sequences, found '
                f'{len(expected)}, such as {next(iter(expected))}; is this '
                f"{self.metainfo['dataset_type']}? {_CURE}")
        self._frames = {
            sequence: self._list_frames(sequence, count)
            for sequence, count in expected.items()
        }
        data_list = super().load_data_list()
        for sample in data_list if self.load_frames_list else ():
            if len(sample['gt_path']) == 1:  # the key of a frame
                name = osp.splitext(osp.basename(sample['gt_path'][0]))[0]
                sample['key'] = f'{sample["key"]}/{name}'
        if self.check_frames:
            with ThreadPoolExecutor(4) as pool:
                list(
                    pool.map(self._check_sizes, self._frames,
                             self._frames.values()))
        return data_list

    def _get_path_list(self) -> List[str]:
        """Return the annotation's frames, ``000/00000000``, after checking
        that they exist; for whole sequences and clips, return their names."""
        if self._is_whole():
            return list(self._frames)
        if not self.use_ann_file:
            return [
                osp.join(sequence, name)
                for sequence, names in self._frames.items() for name in names
            ]
        paths: List[str] = []
        for words in self._lines():
            sequence, _, name = words[0].partition('/')
            names, name = self._frames[sequence], osp.splitext(name)[0]
            if name and name not in names:
                raise FileNotFoundError(
                    f'{self.ann_file} names frame {sequence}/{name}, which '
                    f'{osp.join(self.data_prefix["gt"], sequence)} does not '
                    'have; correct the annotation or restore the frame')
            paths += [
                osp.join(sequence, frame)
                for frame in ([name] if name else names)
            ]
        return paths

    def _set_seq_lens(self) -> None:
        """Tell the base class how long the sequences are."""
        self.seq_lens.update({
            sequence.split('/')[0]: len(names)
            for sequence, names in self._frames.items()
        })

    def _is_whole(self) -> bool:
        """Whether a sample is a whole sequence or clip."""
        return self.depth == 1 or bool(self.load_frames_list)

    def _read_annotation(self) -> Dict[str, Optional[int]]:
        """Return the sequences and, if stated, their lengths."""
        if not self.use_ann_file:
            folder = self.data_prefix[self.search_key]
            names = self.file_backend.list_dir_or_file(folder)
            if self.load_frames_list:
                raise ValueError('ann_file must name the clips that '
                                 f'load_frames_list is for, got none; {_CURE}')
            return {
                name: None
                for name in sorted({osp.splitext(name)[0]
                                    for name in names})
            }
        if not osp.isfile(self.ann_file):
            raise FileNotFoundError(
                f'the annotation {self.ann_file} does not exist; {_CURE}')
        sequences: Dict[str, Optional[int]] = {}
        for words in self._lines():
            sequence, slash, _ = words[0].partition('/')
            count = None
            # MMagic's annotations may name a size there, "(256,448,3)"
            if not slash and len(words) > 1 and words[1][0] != '(':
                if not words[1].isdecimal() or int(words[1]) < 1:
                    raise ValueError(
                        f'{self.ann_file} must name the number of frames of '
                        f'{sequence}, a whole number above 0, found '
                        f'{words[1]!r}; {_CURE}')
                count = int(words[1])
            name = words[0] if self.load_frames_list else sequence
            sequences[name] = count
        return sequences

    def _lines(self) -> List[List[str]]:
        """Return the words of each line of the annotation, without empty
        lines.

        Raises:
            ValueError: The file is not UTF-8 text.
        """
        try:
            lines = get_text(self.ann_file, encoding='utf-8-sig').splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{self.ann_file} must be text in UTF-8, found: {error}; save '
                'it so') from error
        return [line.split() for line in lines if line.strip()]

    def _list_frames(self, sequence: str, count: Optional[int]) -> List[str]:
        """Return the names of a sequence's frames, without suffix, after
        checking that LR and HR agree and nothing is missing."""
        if self.load_frames_list:
            return self._list_clip(sequence)
        names: List[str] = []
        count = self.seq_lens['fixed_seq_len'] or count
        shortest = self.num_input_frames or 1
        for folder in self.data_prefix.values():
            try:
                path, storage, found = list_sequence(folder, sequence)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f'{self.ann_file or "the other folder"} names sequence '
                    f'{sequence}, but {error}; {_CURE}') from error
            if self.any_names and storage == 'png':
                found = list_frames(path)  # no gap
            expected = len(found) if count is None else count
            names = [f'{index:08d}' for index in range(expected)]
            wrong = {f'{name}.png' for name in names} ^ set(found)
            if self.any_names and len(found) != expected:
                raise ValueError(
                    f'{path} must hold {expected} frames, as '
                    f'{self.ann_file or "the other folder"} has, found '
                    f'{len(found)}; restore them, or {_CURE}')
            if wrong and not self.any_names:
                raise ValueError(
                    f'{path} must hold frames 00000000.png to '
                    f'{expected - 1:08d}.png and nothing else, found '
                    f'{len(found)} files; the first that is missing or too '
                    f'much is {min(wrong)}. Restore it, or {_CURE}')
            if expected < shortest:
                raise ValueError(
                    f'{path} must hold at least {shortest} '
                    f'frames, one window (num_input_frames), found '
                    f'{expected}; leave the sequence out')
            count = expected
        return names

    def _list_clip(self, clip: str) -> List[str]:
        """Return the names of a clip's frames, without suffix, after checking
        that its folders have all frames to load."""
        names: List[str] = []
        for key, folder in self.data_prefix.items():
            path = osp.join(folder, clip)
            if not osp.isdir(path):
                raise FileNotFoundError(f'{self.ann_file} names clip {clip}, '
                                        f'but {path} does not exist; {_CURE}')
            loaded = self.load_frames_list[key]
            missing = sorted(set(loaded).difference(os.listdir(path)))
            if missing:
                raise FileNotFoundError(
                    f'{path} must hold {", ".join(loaded)}, found no '
                    f'{", ".join(missing)}; restore what is missing, or '
                    f'{_CURE}')
            names = names or [osp.splitext(name)[0] for name in loaded]
        return names

    def _check_sizes(self, sequence: str, names: List[str]) -> None:
        """Check that all frames of a sequence have one size, and that HR
        frames are ``scale`` times as large as LR frames."""
        sizes = {}
        for key, folder in self.data_prefix.items():
            for name in self.load_frames_list.get(
                    key, [f'{name}.png' for name in names]):
                path = osp.join(folder, sequence, name)
                size = frame_size(path)
                if sizes.setdefault(key, size) != size:
                    raise ValueError(
                        f'{path} must be {sizes[key]} (width, height), as '
                        f'the frames before it, found {size}; leave the '
                        'sequence out or restore the frame')
        width, height = sizes['img']
        if sizes['gt'] != (width * self.scale, height * self.scale):
            raise ValueError(
                f'sequence {sequence}: HR frames must be {self.scale} times '
                f'as large as LR frames, found {sizes["gt"]} in '
                f'{self.data_prefix["gt"]} and {sizes["img"]} in '
                f'{self.data_prefix["img"]} (width, height); {_CURE}')
