import numpy as np
import pytest

from runtime.scenes import LABELS, Street
from runtime.scenes.street import MIN_SIDE

SMALL = (320, 180)


def test_same_seed_and_index_give_same_frame_in_any_order() -> None:
    first, second = Street(3, SMALL), Street(3, SMALL)
    indices = [0, 40, 7, 40, 10_000_000, 1]
    seen = {index: first.frame(index) for index in indices}
    for index in reversed(indices):
        image, truth = second.frame(index)
        assert image.tobytes() == seen[index][0].tobytes()
        np.testing.assert_array_equal(truth.boxes, seen[index][1].boxes)
        np.testing.assert_array_equal(truth.class_ids, seen[index][1].class_ids)


def test_returned_frame_belongs_to_caller() -> None:
    street = Street(1, SMALL)
    image, _ = street.frame(5)
    kept = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(street.frame(5)[0], kept)


@pytest.mark.parametrize("size", [(641, 359), (1280, 720), (240, 320), (64, 48), (33, 32)])
def test_truth_fits_any_size(size: tuple[int, int]) -> None:
    for seed in range(4):
        image, truth = Street(seed, size).frame(60 * seed)
        assert image.shape == (size[1], size[0], 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert truth.boxes.dtype == np.float32
        assert truth.class_ids.dtype == np.int32
        assert truth.boxes.shape == (len(truth.class_ids), 4)
        x1, y1, x2, y2 = truth.boxes.T
        assert (x1 >= 0).all()
        assert (y1 >= 0).all()
        assert (x2 <= size[0]).all()
        assert (y2 <= size[1]).all()
        assert (np.minimum(x2 - x1, y2 - y1) >= MIN_SIDE * max(size)).all()
        assert np.isin(truth.class_ids, range(len(LABELS))).all()


def test_every_class_occurs() -> None:
    counts = np.zeros(len(LABELS), int)
    for seed in range(20):
        _, truth = Street(seed, SMALL).frame(0)
        counts += np.bincount(truth.class_ids, minlength=len(LABELS))
    assert (counts > 0).all()


def test_boxes_enclose_what_is_drawn() -> None:
    """A box holds pixels that differ from the same view at another time."""
    street = Street(2, (640, 360))
    frames = [street.frame(index)[0] for index in range(0, 900, 20)]
    still = np.median(np.stack(frames), axis=0)
    image, truth = street.frame(450)
    changed = np.abs(image.astype(float) - still).max(axis=2) > 25
    moving = truth.boxes[truth.class_ids != LABELS.index("traffic light")].astype(int)
    assert len(moving)
    shares = [changed[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in moving]
    assert np.median(shares) > 0.35


def test_seeds_differ() -> None:
    images = [Street(seed, SMALL).frame(0)[0] for seed in range(6)]
    for a in range(6):
        for b in range(a):
            assert np.abs(images[a].astype(int) - images[b]).mean() > 4


def test_things_move() -> None:
    street = Street(2, SMALL)
    before, after = street.frame(30), street.frame(31)
    assert before[0].tobytes() != after[0].tobytes()
    later = street.frame(45)[1]
    assert not np.array_equal(before[1].boxes, later.boxes)


def test_noise_alone_is_mild() -> None:
    street = Street(10, SMALL)
    difference = street.frame(30)[0].astype(int) - street.frame(31)[0]
    assert 0.5 < np.median(np.abs(difference)) < 6


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="32x32"):
        Street(0, (31, 480))
    with pytest.raises(ValueError, match="counted from 0"):
        Street(0, SMALL).frame(-1)


def test_any_integer_is_a_seed() -> None:
    for seed in (-1, 2**70):
        assert Street(seed, SMALL).frame(0)[0].any()
