"""The report's page in a headless browser."""
import json
import os.path as osp
import shutil
from contextlib import contextmanager

import pytest
from result_files import EVIL, HARDWARE, make_folders, payload

from dksan_mm.results.files import read_results
from dksan_mm.results.report import write_report

FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
         '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync',
         '--disable-dev-shm-usage')


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Return a report's folder."""
    folder = tmp_path_factory.mktemp('results')
    out = str(folder / 'report')
    write_report(read_results(make_folders(folder)), out, max_frames=2)
    return out


@contextmanager
def open_page(report, profile, size=(1200, 900), phone=False):
    """Open a report in headless Chromium; close it with its messages and
    requests checked."""
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='needs: pip install selenium')
    programs = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if None in programs:
        pytest.skip('needs Chromium: apt-get install --no-install-recommends '
                    'chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f'--user-data-dir={profile}',
                 f'--window-size={size[0]},{size[1]}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {
        'browser': 'ALL',
        'performance': 'ALL'
    })
    if phone:
        options.add_experimental_option(
            'mobileEmulation', {
                'deviceMetrics': {
                    'width': size[0],
                    'height': size[1],
                    'pixelRatio': 2.
                }
            })
    service = webdriver.chrome.service.Service(programs[1])
    driver = webdriver.Chrome(options=options, service=service)
    try:
        url = f'file://{osp.abspath(report)}/index.html'
        driver.get(url)
        yield driver
        assert driver.get_log('browser') == []
        requests = requested(driver)
        # chrome: is the browser's own first page
        others = {
            r
            for r in requests if not r.startswith(('data:', 'chrome:'))
        }
        assert others == {url}
    finally:
        driver.quit()


def requested(driver):
    """Return the addresses that a page asked for."""
    messages = [
        json.loads(entry['message'])['message']
        for entry in driver.get_log('performance')
    ]
    return [
        message['params']['request']['url'] for message in messages
        if message['method'] == 'Network.requestWillBeSent'
    ]


def reload(driver):
    """Load the page again, and wait until it is the new one, and whole."""
    from selenium.webdriver.support.wait import WebDriverWait
    driver.execute_script('window.isOld = true')
    driver.refresh()
    WebDriverWait(driver, 60).until(lambda driver: driver.execute_script(
        'return !window.isOld && document.readyState === "complete" && '
        'document.querySelector("#theme") !== null'))


def find(driver, selector):
    return driver.find_elements('css selector', selector)


def clip(driver):
    """Return what the first slider shows of its left picture, in percent."""
    text = driver.execute_script(
        'return document.querySelector(".before").style.clipPath')
    cut = text.split()[1].rstrip('%')
    return 100 - float(cut)


@pytest.fixture(scope='module')
def page(report, tmp_path_factory):
    """Return the report opened in a desktop's window."""
    profile = tmp_path_factory.mktemp('profile')
    with open_page(report, profile) as driver:
        yield driver


@pytest.mark.parametrize('keys,moves', [
    (['ARROW_RIGHT'], 2), (['ARROW_LEFT'], -2), (['PAGE_UP'], 10),
    (['HOME'], -50), (['END'], 50), (['HOME', 'ARROW_LEFT'], -50),
])  # yapf: disable
def test_slider_by_keys(page, keys, moves):
    """The clip follows, and what a screen reader says."""
    from selenium.webdriver.common.keys import Keys
    reload(page)
    handle = find(page, '[role=slider]')[0]
    assert clip(page) == 50
    for key in keys:
        handle.send_keys(getattr(Keys, key))
    assert clip(page) == 50 + moves
    assert handle.get_attribute('aria-valuenow') == str(50 + moves)
    assert handle.get_attribute('aria-valuetext') == (
        f'{50 + moves} % Bicubic, {50 - moves} % DKSAN')


def test_slider_by_pointer(page):
    """It goes where it is pressed and dragged, and stops when released."""
    from selenium.webdriver import ActionChains
    reload(page)
    stage = find(page, '.stage')[0]
    width = stage.size['width']
    page.execute_script('arguments[0].scrollIntoView({block: "center"})',
                        stage)
    actions = ActionChains(page)
    actions.move_to_element_with_offset(stage, int(-.25 * width), 30)
    actions.click_and_hold().perform()
    assert clip(page) == pytest.approx(25, abs=.5)
    ActionChains(page).move_by_offset(int(.5 * width), 5).perform()
    assert clip(page) == pytest.approx(75, abs=.5)
    ActionChains(page).release().move_by_offset(-100, 0).perform()
    assert clip(page) == pytest.approx(75, abs=.5)


def test_focus_is_visible(page):
    """The handle is reached by Tab, after the last button."""
    from selenium.webdriver.common.keys import Keys
    reload(page)
    find(page, '.controls button[aria-pressed]')[1].send_keys(Keys.TAB)
    style = page.execute_script(
        'const handle = document.querySelector("[role=slider]");'
        'return [document.activeElement === handle,'
        'getComputedStyle(handle, "::after").outlineStyle]')
    assert style == [True, 'solid']


def test_menus_change_pictures(page):
    """Each names a picture; frames change both and keep the choice."""
    from selenium.webdriver.support.ui import Select
    reload(page)
    group, = payload(osp.dirname(page.current_url[len('file://'):]))['groups']
    views = group['sequences'][0]['views']
    frames, left, right = find(page, 'article select')[:3]
    assert [o.text for o in Select(right).options] == views[0]['labels']

    def shown():
        return [
            find(page, f'.{side}')[0].get_attribute('src')
            for side in ('before', 'after')
        ]

    assert shown() == views[0]['uris'][:2]
    Select(right).select_by_visible_text('Ground truth')
    Select(left).select_by_visible_text(EVIL)
    assert shown() == views[0]['uris'][2:]
    Select(frames).select_by_index(1)
    assert shown() == views[1]['uris'][2:]
    find(page, '.controls button')[0].click()  # Swap
    assert shown() == views[1]['uris'][:1:-1]
    assert page.execute_script(
        'return [...document.querySelectorAll("img")].every('
        '(i) => i.complete && i.naturalWidth > 0 && i.alt)')


def test_plot(page):
    """A title, a description, a line a system with a gap at infinity, and
    the values of the frame that is pointed at or reached by keys."""
    from selenium.webdriver.common.keys import Keys
    reload(page)
    chart = find(page, '.plot svg')[0]
    ids = chart.get_attribute('aria-labelledby').split()
    texts = [
        page.execute_script(
            'return document.getElementById(arguments[0]).textContent', i)
        for i in ids
    ]
    assert texts[0] == 'PSNR over time, small'
    assert 'Bicubic: mean 21.50 dB, frames from 21.00 to 22.00' in texts[1]
    lines = find(chart, '.curve')
    moves = [line.get_attribute('d').count('M') for line in lines]
    assert moves == [1, 2, 1]
    plot = find(page, '.plot')[0]
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    values = [b.text for b in find(page, '.legend')[0].find_elements(
        'tag name', 'b')]  # yapf: disable
    assert values == ['21.25 dB', '\u221e dB', '22.25 dB']
    from selenium.webdriver import ActionChains
    ActionChains(page).move_to_element(plot).perform()
    values = [b.text for b in find(page, '.legend')[0].find_elements(
        'tag name', 'b')]  # yapf: disable
    assert values == ['21.50 dB', '24.50 dB', '22.50 dB']


def test_frames_that_are_none_leave_a_gap(page):
    """A network may have diverged."""
    reload(page)
    assert page.execute_script('return showDecibel("nan")') == 'nan dB'
    drawn = page.execute_script(
        'return curve([1, "nan", 2, 3], (t) => t, (value) => value)')
    assert drawn == 'M0.0 1.0M2.0 2.0L3.0 3.0'
    assert page.execute_script('return extent([[1, "nan"]])[0]') < 1


def test_names_are_text(page):
    """Markup from files is shown, not run."""
    reload(page)
    assert page.title == 'Video super-resolution'
    assert EVIL in find(page, 'table')[0].text
    assert not find(page, 'img[src="x"]')


def test_theme(page):
    """The button changes the colours and stores the choice, which the next
    visit finds; without one, the system's choice counts."""
    reload(page)

    def colour():
        return page.execute_script(
            'return getComputedStyle(document.body).backgroundColor')

    first = colour()
    button = find(page, '#theme')[0]
    button.click()
    assert colour() != first
    chosen = page.execute_script('return localStorage.getItem("theme")')
    assert chosen in ('dark', 'light')
    # Chromium writes its storage when it has time to, and a page that is
    # loaded earlier does not see it: what the next visit finds is put there
    script = page.execute_cdp_cmd(
        'Page.addScriptToEvaluateOnNewDocument',
        {'source': f'localStorage.setItem("theme", "{chosen}")'})
    reload(page)
    assert colour() != first
    page.execute_cdp_cmd('Page.removeScriptToEvaluateOnNewDocument', script)
    find(page, '#theme')[0].click()
    assert colour() == first
    page.execute_cdp_cmd('Page.addScriptToEvaluateOnNewDocument',
                         {'source': 'localStorage.clear()'})
    page.execute_cdp_cmd(
        'Emulation.setEmulatedMedia',
        {'features': [{
            'name': 'prefers-color-scheme',
            'value': 'dark'
        }]})
    reload(page)
    assert colour() != first


def test_phone(report, tmp_path):
    """Nothing is wider than a small phone, and the slider follows a
    finger's tap."""
    with open_page(report, tmp_path, (360, 740), phone=True) as driver:
        assert driver.execute_script(
            'return [document.documentElement.scrollWidth, innerWidth]') == [
                360, 360
            ]
        stage = find(driver, '.stage')[0]
        driver.execute_script('arguments[0].scrollIntoView({block: "center"})',
                              stage)
        place = driver.execute_script(
            'return arguments[0].getBoundingClientRect()', stage)
        point = {
            'x': place['left'] + place['width'] / 4,
            'y': place['top'] + 20
        }
        for kind, points in (('touchStart', [point]), ('touchEnd', [])):
            driver.execute_cdp_cmd('Input.dispatchTouchEvent', {
                'type': kind,
                'touchPoints': points
            })
        assert clip(driver) == pytest.approx(25, abs=.5)


def test_nothing_scrolls_sideways(report, tmp_path):
    """In a window of 1280 pixels, with all that folds away unfolded; at first
    only the summary's numbers are seen."""
    with open_page(report, tmp_path, (1280, 900)) as driver:
        head, = [
            table.text.split() for table in find(driver, 'thead')
            if table.is_displayed()
        ]
        assert head == [
            'System', 'PSNR', 'SSIM', 'LPIPS', 'tOF', 'Parameters', 's/frame'
        ]
        driver.execute_script('document.querySelectorAll("details").forEach('
                              '(details) => { details.open = true; })')
        assert HARDWARE in find(driver, 'main')[0].text
        widths = driver.execute_script(
            'return [document.documentElement, ...document.querySelectorAll('
            '".wide, .scroller")].map((x) => [x.scrollWidth, x.clientWidth])')
        assert len(widths) > 4
        assert all(needed <= there for needed, there in widths), widths
