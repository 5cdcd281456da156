"""Print one table of results that tools/test.py --out wrote.

    python tools/analysis_tools/print_results.py bicubic=a.json DKSAN=b.json
"""
import argparse
import json
import sys
from typing import Dict, List, Tuple

METRICS = {'PSNR': '{:.2f}', 'SSIM': '{:.4f}'}


def read_results(argument: str) -> Tuple[str, Dict[str, float]]:
    """Read NAME=FILE; return the name and the metrics."""
    name, separator, path = argument.partition('=')
    if not separator:
        raise ValueError(f'results must be NAME=FILE, found {argument!r}')
    with open(path) as file:
        results = json.load(file)
    missing = set(METRICS) - set(results)
    if missing:
        raise ValueError(f'{path} must hold {", ".join(METRICS)}, found no '
                         f'{min(missing)}; write it with tools/test.py --out')
    return name, results


def sequences(results: Dict[str, float]) -> List[str]:
    """Return the sequences that results are of."""
    return sorted(
        key.split('/', 1)[1] for key in results
        if '/' in key and key.startswith('PSNR'))


def make_table(systems: Dict[str, Dict[str, float]]) -> str:
    """Return a Markdown table, a row a sequence, and the average."""
    first = next(iter(systems))
    names = sequences(systems[first])
    for system, results in systems.items():
        if sequences(results) != names:
            raise ValueError(
                f'all results must be of the same sequences, found '
                f'{sequences(results)} for {system} and {names} for {first}')
    width = max(len(name) for name in [*names, 'Sequence', 'Average'])
    columns = [
        f'{system} {metric}' for system in systems for metric in METRICS
    ]
    rows = [['Sequence'.ljust(width), *columns]]
    rows.append(['-' * width] + ['-' * (len(c) - 1) + ':' for c in columns])
    for name in [*names, None]:
        row = [(name or 'Average').ljust(width)]
        for system, results in systems.items():
            for metric, form in METRICS.items():
                key = f'{metric}/{name}' if name else metric
                row.append(
                    form.format(results[key]).rjust(len(f'{system} {metric}')))
        rows.append(row)
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description='Print a table of results')
    parser.add_argument('results', nargs='+', help='NAME=FILE, FILE a .json')
    args = parser.parse_args()
    try:
        systems = dict(read_results(argument) for argument in args.results)
        print(make_table(systems))
    except (OSError, ValueError) as error:
        sys.exit(f'print_results.py: {error}')
    print('\nPSNR in dB, both in RGB without a border crop; the average is '
          'the unweighted mean over sequences.')
    names = list(systems)
    for name in names[1:]:
        gain = systems[name]['PSNR'] - systems[names[0]]['PSNR']
        print(f'{name} against {names[0]}: {gain:+.2f} dB')


if __name__ == '__main__':
    main()
