//! The well known logical unit REPORT LUNS, beside the units of its target.

use super::*;

fn report(select: u8) -> Command {
    Command::new(0, &[0xa0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0]).reading(256)
}

fn to_well_known(cdb: &[u8]) -> Command {
    Command { lun: Lun::REPORT_LUNS, ..Command::new(0, cdb).reading(256) }
}

/// Additional sense code and qualifier of a CHECK CONDITION.
fn asc(completion: &Completion) -> (u8, u8) {
    assert_eq!(completion.status, 2, "{completion:?}");
    (completion.sense[12], completion.sense[13])
}

#[test]
fn it_is_listed_when_asked_for_and_answers_for_itself() {
    let house = House::plain();
    let mut host = house.host();
    let inquiry = host.command(to_well_known(&[0x12, 0, 0, 0, 96, 0]));
    assert_eq!((inquiry.status, inquiry.data_in[0]), (0, 0x1e));
    assert_eq!(asc(&host.command(to_well_known(&[0; 6]))), (0x29, 0x00), "its own unit attention");
    assert_eq!(host.command(to_well_known(&[0; 6])).status, 0);
    assert_eq!(asc(&host.command(Command::new(1, &[0; 6]))), (0x29, 0x00), "and that of the disk is still there");
    let answer = host.run(report(2));
    let well_known = [0xc1, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer.data_in, [[0, 0, 0, 24, 0, 0, 0, 0], [0; 8], [0, 1, 0, 0, 0, 0, 0, 0], well_known].concat());
    let through = host.run(to_well_known(&[0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
    assert_eq!(through.data_in, answer.data_in, "the same through the unit itself");
    assert_eq!(host.run(report(1)).data_in, [[0, 0, 0, 8, 0, 0, 0, 0], well_known].concat());
    assert_eq!(asc(&host.command(to_well_known(&[0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0]))), (0x20, 0x00));
    let nobody = Command { lun: Lun([0xc1, 2, 0, 0, 0, 0, 0, 0]), ..Command::new(0, &[0; 6]) };
    assert_eq!(asc(&host.command(nobody)), (0x25, 0x00), "there are no others");
    assert_eq!(host.function(5, Lun::REPORT_LUNS, 0), 0, "LOGICAL UNIT RESET");
    assert_eq!(asc(&host.command(to_well_known(&[0; 6]))).0, 0x29);
    drop(host);
    house.end();
}

#[test]
fn it_hears_of_units_that_come_and_its_report_ends_the_attention_of_all() {
    let house = House::plain();
    let mut host = house.host();
    for command in [to_well_known(&[0; 6]), Command::new(0, &[0; 6]), Command::new(1, &[0; 6])] {
        assert_eq!(host.run(command).status, 0);
    }
    let cell = disk(2, Arc::new(Memory::new(1 << 20)));
    let mut model = Model::clone(&house.hub.model());
    let mut entry = TargetEntry::clone(&model.targets[&1]);
    entry.units.insert(2, cell.clone());
    model.targets.insert(1, Arc::new(entry));
    house.hub.publish(model);
    house.hub.unit_added(1, &cell);
    assert_eq!(asc(&host.command(to_well_known(&[0; 6]))), (0x3f, 0x0e));
    let told = host.command(to_well_known(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
    assert_eq!((told.status, told.data_in[3]), (0, 24));
    assert_eq!(host.command(Command::new(1, &[0; 6])).status, 0, "nothing is left to tell");
    drop(host);
    house.end();
}
